package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"plumb.dev/plumb/fault"
)

// A KubeconfigPolicy says what a kubeconfig from a Secret may make plumb do.
// The zero value allows nothing but to connect.
type KubeconfigPolicy struct {
	AllowExec        bool // run the programs that it names to get credentials
	AllowInsecureTLS bool // not check the server's certificate
}

// Kubeconfig reads a kubeconfig that somebody else wrote. id is the same for
// the same bytes. What p does not allow is a [fault.Stall] with reason
// UnsafeKubeconfig: files of the machine that plumb runs on, programs,
// unchecked certificates and proxies.
func Kubeconfig(data []byte, p KubeconfigPolicy) (id string, config *rest.Config, err error) {
	unsafe := func(what string) error {
		return &fault.Error{
			Next: fault.Stall, Reason: fault.UnsafeKubeconfig, Err: fmt.Errorf("the kubeconfig has %s, which is not allowed", what),
			Hint: "put the certificates, keys and token into the kubeconfig itself",
		}
	}
	raw, err := clientcmd.Load(data)
	if err != nil {
		// The parser's error may quote the file.
		return "", nil, &fault.Error{Next: fault.Stall, Reason: fault.InvalidKubeconfig, Err: fmt.Errorf("the kubeconfig can't be read")}
	}
	for name, a := range raw.AuthInfos {
		switch {
		case a.Exec != nil && !p.AllowExec:
			return "", nil, unsafe(fmt.Sprintf("an exec plugin for user %q", name))
		case a.AuthProvider != nil:
			return "", nil, unsafe(fmt.Sprintf("an auth provider for user %q", name))
		case a.TokenFile != "":
			return "", nil, unsafe(fmt.Sprintf("a token file for user %q", name))
		case a.ClientCertificate != "" || a.ClientKey != "":
			return "", nil, unsafe(fmt.Sprintf("a certificate or key file for user %q", name))
		}
	}
	for name, c := range raw.Clusters {
		switch {
		case c.CertificateAuthority != "":
			return "", nil, unsafe(fmt.Sprintf("a certificate authority file for cluster %q", name))
		case c.InsecureSkipTLSVerify && !p.AllowInsecureTLS:
			return "", nil, unsafe(fmt.Sprintf("insecure-skip-tls-verify for cluster %q", name))
		case c.ProxyURL != "":
			return "", nil, unsafe(fmt.Sprintf("a proxy for cluster %q", name))
		}
		server, ok := serverURL(c.Server)
		switch {
		case !ok:
			return "", nil, &fault.Error{
				Next: fault.Stall, Reason: fault.InvalidKubeconfig, Err: fmt.Errorf("the kubeconfig's server for cluster %q is not a URL of a server", name),
				Hint: "write it as https://HOST:PORT",
			}
		case server.Scheme != "https" && !p.AllowInsecureTLS:
			return "", nil, unsafe(fmt.Sprintf("a server without TLS for cluster %q", name))
		}
		c.Server = server.String()
	}
	config, err = clientcmd.NewDefaultClientConfig(*raw, nil).ClientConfig()
	if err != nil {
		return "", nil, &fault.Error{Next: fault.Stall, Reason: fault.InvalidKubeconfig, Err: fmt.Errorf("the kubeconfig names no usable cluster and user")}
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), config, nil
}

// serverURL reads a server's address, https or http. One without a scheme is
// https: the client would choose plain HTTP for it, if no certificate is given.
func serverURL(server string) (*url.URL, bool) {
	u, err := url.Parse(server)
	if err != nil || u.Host == "" && (u.Opaque != "" || u.Scheme == "") {
		if u, err = url.Parse("https://" + server); err != nil || strings.Trim(u.Path, "/") != "" {
			return nil, false // such as http:/host
		}
	}
	if u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, false
	}
	return u, true
}
