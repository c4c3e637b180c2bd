package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// kubeconfigMark is the first line of our kubeconfigs. A file without it is
// someone else's.
const kubeconfigMark = "# written by plumb-sandbox, and removed when it stops\n"

// writeKubeconfig writes a kubeconfig that holds all it needs. Whoever sees
// the file sees all of it.
func writeKubeconfig(path, server, ca, cert string) error {
	const name = "plumb-sandbox"
	var data [3][]byte
	for i, file := range []string{ca + ".crt", cert + ".crt", cert + ".key"} {
		var err error
		if data[i], err = os.ReadFile(file); err != nil {
			return err
		}
	}
	config := api.NewConfig()
	config.Clusters[name] = &api.Cluster{Server: server, CertificateAuthorityData: data[0]}
	config.AuthInfos[name] = &api.AuthInfo{ClientCertificateData: data[1], ClientKeyData: data[2]}
	config.Contexts[name] = &api.Context{Cluster: name, AuthInfo: name}
	config.CurrentContext = name
	text, err := clientcmd.Write(*config)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", append([]byte(kubeconfigMark), text...), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// removeKubeconfig removes a file that writeKubeconfig wrote. Any other it
// leaves, with an error.
func removeKubeconfig(path string) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(text) > 0 && !bytes.HasPrefix(text, []byte(kubeconfigMark)) {
		return fmt.Errorf("kubeconfig %s exists and is no sandbox's; give --kubeconfig another file", path)
	}
	return os.Remove(path)
}
