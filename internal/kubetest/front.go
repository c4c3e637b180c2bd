package kubetest

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// A RoundTrip answers a request to the API server, most often by what next
// answers.
type RoundTrip func(next http.RoundTripper, r *http.Request) (*http.Response, error)

// Through returns the same control plane with do between it and all requests
// by its Kubeconfig: they can be changed, delayed, and not be answered. Config
// and Client still go straight to the API server. Whoever has the address is
// the administrator.
func (e *Env) Through(t testing.TB, do RoundTrip) *Env {
	t.Helper()
	next, err := rest.TransportFor(e.Config)
	if err != nil {
		t.Fatal(err)
	}
	server, err := url.Parse(e.Config.Host)
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(server) },
		FlushInterval: -1,                         // watches
		ErrorLog:      log.New(io.Discard, "", 0), // do means it
		Transport:     transport(func(r *http.Request) (*http.Response, error) { return do(next, r) }),
	})
	t.Cleanup(func() {
		front.CloseClientConnections() // watches do not end by themselves
		front.Close()
	})
	through := *e
	through.Kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	config := clientcmdapi.NewConfig()
	config.Clusters["front"] = &clientcmdapi.Cluster{Server: front.URL}
	config.Contexts["front"] = &clientcmdapi.Context{Cluster: "front"}
	config.CurrentContext = "front"
	if err := clientcmd.WriteToFile(*config, through.Kubeconfig); err != nil {
		t.Fatal(err)
	}
	return &through
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
