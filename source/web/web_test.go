package web_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source/web"
)

func wantReason(t *testing.T, err error, reason fault.Reason) *fault.Error {
	t.Helper()
	f := fault.Of(err)
	if err == nil || f.Reason != reason || f.Next != fault.Retry && reason != web.ReasonInvalidURL {
		t.Fatalf("error is %v (%+v), want a %s", err, f, reason)
	}
	return f
}

// A server that notes who shows it what.
func noting(t *testing.T, answer http.HandlerFunc) (at *url.URL, seen *[]string) {
	t.Helper()
	seen = new([]string)
	var mu sync.Mutex
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		*seen = append(*seen, r.Header.Get("Authorization"))
		mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u, seen
}

func get(t *testing.T, o web.Options, at string) (string, error) {
	t.Helper()
	return getWithin(t, o, at, 20*time.Second)
}

func getWithin(t *testing.T, o web.Options, at string, stall time.Duration) (string, error) {
	t.Helper()
	c, err := web.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseIdleConnections()
	var body string
	talk := web.Talk{Doing: "get", With: "it", Timeout: time.Minute, Stall: stall, Secrets: web.Secrets([]string{o.Credentials.Password}, nil, []string{at})}
	err = talk.Run(t.Context(), func(ctx context.Context, p *web.Pulse) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
		if err != nil {
			return err
		}
		resp, err := p.Do(c, req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(web.AtMost(resp.Body, 1000, "the answer"))
		body = string(b)
		return err
	})
	return body, err
}

func TestCredentialsStayAtHome(t *testing.T) {
	other, atOther := noting(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "other") })
	home, atHome := noting(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, other.String()+"/x", http.StatusFound)
		case "/within":
			http.Redirect(w, r, "/x", http.StatusMovedPermanently)
		default:
			io.WriteString(w, "home")
		}
	})
	o := web.Options{Home: home, Credentials: web.Credentials{Username: "ada", Password: "canary-1"}}
	for path, want := range map[string]string{"/within": "home", "/away": "other"} {
		if got, err := get(t, o, home.String()+path); err != nil || got != want {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	if got, err := get(t, o, other.String()); err != nil || got != "other" {
		t.Errorf("%q, %v", got, err)
	}
	if fmt.Sprint(*atOther) != "[ ]" {
		t.Errorf("the other server was shown %q", *atOther)
	}
	if len(*atHome) != 3 || strings.Contains(strings.Join(*atHome, ","), ",,") || (*atHome)[0] == "" {
		t.Errorf("its own server was shown %q", *atHome)
	}
	o.Everywhere = true
	if _, err := get(t, o, home.String()+"/away"); err != nil || (*atOther)[2] == "" {
		t.Errorf("everywhere: %q, %v", *atOther, err)
	}
	o.Redirect = web.Within
	_, err := get(t, o, home.String()+"/away")
	wantReason(t, err, web.ReasonRedirectRefused)
}

func TestNothingLeadsFromTLSToNone(t *testing.T) {
	plain, seen := noting(t, func(http.ResponseWriter, *http.Request) {})
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, plain.String(), http.StatusFound)
	}))
	t.Cleanup(s.Close)
	home, _ := url.Parse(s.URL)
	o := web.Options{Home: home, Credentials: web.Credentials{Username: "ada", Password: "canary-1"}, Everywhere: true, TLS: web.TLS{Insecure: true}}
	_, err := get(t, o, s.URL)
	wantReason(t, err, web.ReasonRedirectRefused)
	if _, err := get(t, o, plain.String()); err != nil || len(*seen) != 1 || (*seen)[0] != "" {
		t.Errorf("without TLS %q was shown: %v", *seen, err)
	}
	o.TLS.Insecure = false
	_, err = get(t, o, s.URL)
	wantReason(t, err, web.ReasonCertificateInvalid)
}

func TestTheKeepersOfAMachineAreNotDialled(t *testing.T) {
	for _, at := range []string{
		"169.254.169.254", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::1]", "[::169.254.169.254]", "[fe80::1]", "[fd00:ec2::254]",
		"100.100.100.200", "168.63.129.16", "0.0.0.0", "[::]", "224.0.0.1", "255.255.255.255",
	} {
		_, err := get(t, web.Options{}, "http://"+at+":1/")
		if wantReason(t, err, web.ReasonAddressRefused); !strings.Contains(err.Error(), "keepers") {
			t.Errorf("%s: %v", at, err)
		}
		proxy, _ := noting(t, func(http.ResponseWriter, *http.Request) { t.Errorf("a proxy was asked for %s", at) })
		_, err = get(t, web.Options{Proxy: web.Proxy{URL: proxy.String()}}, "http://"+at+":1/")
		wantReason(t, err, web.ReasonAddressRefused)
	}
	for _, at := range []string{"127.0.0.1:1", "[::1]:1"} {
		if _, err := get(t, web.Options{}, "http://"+at+"/"); fault.Is(err, web.ReasonAddressRefused) {
			t.Errorf("%s: %v", at, err)
		}
	}
	// By a redirect, too.
	home, _ := noting(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://169.254.169.254/latest", http.StatusFound)
	})
	_, err := get(t, web.Options{}, home.String())
	wantReason(t, err, web.ReasonAddressRefused)
}

func TestWhatAServerDoesIsExplained(t *testing.T) {
	at, _ := noting(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hung":
			<-r.Context().Done()
		case "/slow":
			for r.Context().Err() == nil {
				io.WriteString(w, "x")
				w.(http.Flusher).Flush()
				time.Sleep(20 * time.Millisecond)
			}
		case "/long":
			io.WriteString(w, strings.Repeat("x", 1001))
		case "/limited":
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusTooManyRequests)
		case "/cut":
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "x")
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		default:
			var code int
			fmt.Sscanf(r.URL.Path, "/%d", &code)
			w.WriteHeader(code)
			io.WriteString(w, "canary-body")
		}
	})
	for path, want := range map[string]fault.Reason{
		"/401": web.ReasonAuthFailed, "/403": web.ReasonAuthFailed, "/404": web.ReasonNotFound, "/500": web.ReasonServerError,
		"/502": web.ReasonServerError, "/503": web.ReasonServerError, "/limited": web.ReasonRateLimited, "/hung": web.ReasonTimeout,
		"/slow": web.ReasonTimeout, "/long": web.ReasonTooLarge, "/cut": web.ReasonConnectionFailed, "/loop": web.ReasonRedirectRefused,
	} {
		stall := 20 * time.Second
		if want == web.ReasonTimeout {
			stall = 200 * time.Millisecond
		}
		_, err := getWithin(t, web.Options{Credentials: web.Credentials{Password: "canary-1"}}, at.String()+path+"?token=canary-2", stall)
		f := wantReason(t, err, want)
		if path == "/limited" && f.After != 7*time.Second {
			t.Errorf("to come back after %s", f.After)
		}
		if strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestWhoGoesAwayIsNotASlowServer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := web.Talk{Doing: "get", With: "it", Timeout: time.Minute}.Run(ctx, func(ctx context.Context, _ *web.Pulse) error { return ctx.Err() })
	if !errors.Is(err, context.Canceled) || fault.Is(err, web.ReasonTimeout) {
		t.Errorf("%v", err)
	}
}

func TestAProxyIsNoAddressOfAServer(t *testing.T) {
	for _, bad := range []string{"x", "ftp://host", "://"} {
		_, err := web.NewClient(web.Options{Proxy: web.Proxy{URL: bad}})
		wantReason(t, err, web.ReasonInvalidURL)
	}
	p := web.Proxy{URL: "http://ada:canary@host:1/?canary", Password: "canary"}
	if s := fmt.Sprintf("%v %+v %#v", p, p, p); strings.Contains(s, "canary") {
		t.Error(s)
	}
}

func TestDialOfAnOwnMakerIsUsed(t *testing.T) {
	refused := errors.New("no")
	_, err := get(t, web.Options{Dial: func(context.Context, string, string) (net.Conn, error) { return nil, refused }}, "http://host.example/")
	wantReason(t, err, web.ReasonConnectionFailed)
}
