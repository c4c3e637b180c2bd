package cluster

import (
	"fmt"
	"testing"

	"plumb.dev/plumb/fault"
)

func kubeconfig(server string) []byte {
	return fmt.Appendf(nil, `
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`, server)
}

func TestAKubeconfigWithoutTLSIsRefusedHoweverItIsWritten(t *testing.T) {
	for _, c := range []struct{ server, reason, host string }{
		{"https://10.0.0.1:6443", "", "https://10.0.0.1:6443"},
		{"HTTPS://api.example:6443/at/a/path", "", "https://api.example:6443/at/a/path"},
		{"https://[::1]:6443", "", "https://[::1]:6443"},
		{"10.0.0.1:6443", "", "https://10.0.0.1:6443"},
		{"api.example", "", "https://api.example"},
		{"api.example:6443", "", "https://api.example:6443"},
		{"http://10.0.0.1:8080", "UnsafeKubeconfig", ""},
		{"HTTP://10.0.0.1:8080", "UnsafeKubeconfig", ""},
		{"hTTp://10.0.0.1:8080", "UnsafeKubeconfig", ""},
		{" http://10.0.0.1:8080", "InvalidKubeconfig", ""},
		{"http:/10.0.0.1:8080", "InvalidKubeconfig", ""},
		{"http:10.0.0.1:8080", "InvalidKubeconfig", ""},
		{"https:/10.0.0.1", "InvalidKubeconfig", ""},
		{"//10.0.0.1:8080", "InvalidKubeconfig", ""},
		{"https://", "InvalidKubeconfig", ""},
		{"https://:6443", "InvalidKubeconfig", ""},
		{"unix:///var/run/api.sock", "InvalidKubeconfig", ""},
		{"ftp://10.0.0.1", "InvalidKubeconfig", ""},
		{"10.0.0.1:6443/path", "InvalidKubeconfig", ""},
		{"", "InvalidKubeconfig", ""},
	} {
		t.Run(c.server, func(t *testing.T) {
			_, config, err := Kubeconfig(kubeconfig(c.server), KubeconfigPolicy{})
			if c.reason == "" {
				if err != nil || config.Host != c.host {
					t.Fatalf("got %v, %v; want %s", config, err, c.host)
				}
				return
			}
			if f := fault.Of(err); err == nil || f.Reason != fault.Reason(c.reason) || f.Next != fault.Stall {
				t.Errorf("error is %v, want %s", err, c.reason)
			}
		})
	}
	_, config, err := Kubeconfig(kubeconfig("HTTP://10.0.0.1:8080"), KubeconfigPolicy{AllowInsecureTLS: true})
	if err != nil || config.Host != "http://10.0.0.1:8080" {
		t.Errorf("with the flag: %v, %v", config, err)
	}
}
