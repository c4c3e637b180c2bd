package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
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
			Next: fault.Stall, Reason: "UnsafeKubeconfig", Err: fmt.Errorf("the kubeconfig has %s, which is not allowed", what),
			Hint: "put the certificates, keys and token into the kubeconfig itself",
		}
	}
	raw, err := clientcmd.Load(data)
	if err != nil {
		// The parser's error may quote the file.
		return "", nil, &fault.Error{Next: fault.Stall, Reason: "InvalidKubeconfig", Err: fmt.Errorf("the kubeconfig can't be read")}
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
		case strings.HasPrefix(c.Server, "http://") && !p.AllowInsecureTLS:
			return "", nil, unsafe(fmt.Sprintf("a server without TLS for cluster %q", name))
		case c.ProxyURL != "":
			return "", nil, unsafe(fmt.Sprintf("a proxy for cluster %q", name))
		}
	}
	config, err = clientcmd.NewDefaultClientConfig(*raw, nil).ClientConfig()
	if err != nil {
		return "", nil, &fault.Error{Next: fault.Stall, Reason: "InvalidKubeconfig", Err: fmt.Errorf("the kubeconfig names no usable cluster and user")}
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), config, nil
}
