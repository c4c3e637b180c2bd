package git_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/gittest"
	"plumb.dev/plumb/internal/line/linetest"
	"plumb.dev/plumb/source/git"
)

// serveHTTP answers each request to an address on 127.0.0.1 as do says. It reads
// the request first: what comes before one is no answer to it.
func serveHTTP(t *testing.T, do func(io.Writer)) (url string) {
	t.Helper()
	return "http://" + linetest.Serve(t, func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			do(c)
		}
	})
}

// anyHost are known hosts with a key for every host.
func anyHost(t *testing.T) []byte {
	_, key, _ := strings.Cut(string(gittest.New(t).SSH(t, gittest.SSHOptions{}).KnownHosts()), " ")
	return []byte("* " + key)
}

// drip sends a byte now and then until nobody listens.
func drip(w io.Writer, bytes string) {
	for i := 0; ; i++ {
		if _, err := io.WriteString(w, bytes[i%len(bytes):i%len(bytes)+1]); err != nil {
			return
		}
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// A server that sends just enough to seem alive is given up long before a
// timeout that a user may have set to a day.
func TestAServerThatDripsIsGivenUp(t *testing.T) {
	impatient := git.Options{StallTimeout: 300 * time.Millisecond}
	repo := gittest.Repo(t)
	repo.Commit(t, map[string]string{"a": "1"}, "one")
	head := func(contentType string) string { return "HTTP/1.1 200 OK\r\nContent-Type: " + contentType + "\r\n\r\n" }
	known := anyHost(t)
	for name, r := range map[string]git.Remote{
		"headers": {URL: serveHTTP(t, func(c io.Writer) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			drip(c, "X-Y: z\r\n")
		}) + "/x"},
		"a greeting": {URL: serveHTTP(t, func(c io.Writer) {
			_, _ = io.WriteString(c, head("application/x-git-upload-pack-advertisement")+"001e# service=git-upload-pack\n0000000eversion 2\n")
			drip(c, "0008a=b\n")
		}) + "/x"},
		"the headers of a proxy": {URL: "ssh://git@127.0.0.1:1/x", Auth: git.Auth{KnownHosts: known}, Proxy: git.Proxy{URL: serveHTTP(t, func(c io.Writer) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			drip(c, "X-Y: z\r\n")
		})}},
		"the headers of a proxy, to https": {URL: "https://127.0.0.1:1/x", Proxy: git.Proxy{URL: serveHTTP(t, func(c io.Writer) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			drip(c, "X-Y: z\r\n")
		})}},
		"the lines before an SSH server's version": {URL: "ssh://git@" + linetest.Serve(t, func(c net.Conn) { drip(c, "hello\r\n") }) + "/x", Auth: git.Auth{KnownHosts: known}},
		"nothing to SSH":   {URL: "ssh://git@" + linetest.Serve(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }) + "/x", Auth: git.Auth{KnownHosts: known}},
		"nothing of SOCKS": {URL: "ssh://git@127.0.0.1:1/x", Auth: git.Auth{KnownHosts: known}, Proxy: git.Proxy{URL: "socks5://" + linetest.Serve(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })}},
	} {
		t.Run(name, func(t *testing.T) {
			r.Timeout = 24 * time.Hour
			_, err := newStore(t, impatient).Resolve(t.Context(), r, onMain)
			wantFault(t, err, fault.Retry, git.ReasonTimeout)
		})
	}
	t.Run("before a pack", func(t *testing.T) {
		repo.Server().Fail(gittest.OnPack(func(w http.ResponseWriter, _ []byte, _ *http.Request) { drip(w, "0005\x02") }))
		_, err := try(t, newStore(t, impatient), git.Remote{URL: repo.URL(), Timeout: 24 * time.Hour}, onMain)
		wantFault(t, err, fault.Retry, git.ReasonTimeout)
	})
}

// What a server or a proxy sends without end is cut off.
func TestWhatAServerSendsWithoutEndIsCutOff(t *testing.T) {
	endless := func(begin, more string) func(io.Writer) {
		return func(c io.Writer) {
			block := strings.Repeat(more, 64<<10/len(more))
			if _, err := io.WriteString(c, begin); err != nil {
				return
			}
			for {
				if _, err := io.WriteString(c, block); err != nil {
					return
				}
			}
		}
	}
	conn := func(do func(io.Writer)) func(net.Conn) { return func(c net.Conn) { do(c) } }
	known := anyHost(t)
	ok := "HTTP/1.1 200 OK\r\n"
	greeting := ok + "Content-Type: application/x-git-upload-pack-advertisement\r\n\r\n001e# service=git-upload-pack\n0000"
	for name, r := range map[string]git.Remote{
		"headers":                          {URL: serveHTTP(t, endless(ok, "X-Y: z\r\n")) + "/x"},
		"one header":                       {URL: serveHTTP(t, endless(ok+"X-Y: ", "z")) + "/x"},
		"capabilities":                     {URL: serveHTTP(t, endless(greeting+"000eversion 2\n", "0008a=b\n")) + "/x"},
		"references":                       {URL: serveHTTP(t, endless(greeting, pkt(strings.Repeat("a", 40)+" refs/heads/x\x00side-band-64k\n"))) + "/x"},
		"headers of a proxy":               {URL: "ssh://git@127.0.0.1:1/x", Auth: git.Auth{KnownHosts: known}, Proxy: git.Proxy{URL: serveHTTP(t, endless(ok, "X-Y: z\r\n"))}},
		"one header of a proxy":            {URL: "ssh://git@127.0.0.1:1/x", Auth: git.Auth{KnownHosts: known}, Proxy: git.Proxy{URL: serveHTTP(t, endless(ok+"X-Y: ", "z"))}},
		"headers of a proxy, to https":     {URL: "https://127.0.0.1:1/x", Proxy: git.Proxy{URL: serveHTTP(t, endless(ok, "X-Y: z\r\n"))}},
		"the lines before an SSH version":  {URL: "ssh://git@" + linetest.Serve(t, conn(endless("", "hello\r\n"))) + "/x", Auth: git.Auth{KnownHosts: known}},
		"the line that is its SSH version": {URL: "ssh://git@" + linetest.Serve(t, conn(endless("SSH-2.0-", "x"))) + "/x", Auth: git.Auth{KnownHosts: known}},
	} {
		t.Run(name, func(t *testing.T) {
			r.Timeout = 24 * time.Hour
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := newStore(t, git.Options{}).Resolve(t.Context(), r, onMain)
			runtime.ReadMemStats(&after)
			if err == nil || fault.Of(err).Next != fault.Retry {
				t.Errorf("error is %v", err)
			}
			if grown := int64(after.TotalAlloc - before.TotalAlloc); grown > 200<<20 {
				t.Errorf("%d MiB were used", grown>>20)
			}
		})
	}
	t.Run("beside a pack", func(t *testing.T) {
		repo := gittest.Repo(t)
		repo.Commit(t, map[string]string{"a": "1"}, "one")
		repo.Server().Fail(gittest.OnPack(func(w http.ResponseWriter, _ []byte, _ *http.Request) {
			if _, err := io.WriteString(w, pkt("packfile\n")); err != nil {
				return
			}
			for block := strings.Repeat(pkt("\x02counting…\n"), 4096); ; {
				if _, err := io.WriteString(w, block); err != nil {
					return
				}
			}
		}))
		_, err := try(t, newStore(t, git.Options{}), git.Remote{URL: repo.URL(), Timeout: 24 * time.Hour}, onMain)
		wantFault(t, err, fault.Retry, git.ReasonTooLarge)
	})
}

func TestHTTPIsNoTLSWhateverItsCase(t *testing.T) {
	for _, url := range []string{"http:/host/x", "http:host/x", "//host/x", "HTTP:///x", "unix:///x", "Ext::sh -c x", "file://host/x", "HTTPs//host/x"} {
		if err := (git.Remote{URL: url}).Validate(); !fault.Is(err, git.ReasonInvalidURL) {
			t.Errorf("%s: %v", url, err)
		}
	}
	for _, proxy := range []string{"http:/host:1", "host:1", "//host:1", "ftp://host:1", "HTTP:///", "http://"} {
		_, err := newStore(t, git.Options{}).Resolve(t.Context(), git.Remote{URL: "https://host.invalid/x", Proxy: git.Proxy{URL: proxy}}, onMain)
		wantFault(t, err, fault.Stall, git.ReasonInvalidURL)
	}
	// A server that is reached by TLS does not lead to one that is not.
	server := gittest.NewTLS(t, nil)
	repo := server.Repo(t, "r")
	plain := gittest.New(t)
	server.Fail(gittest.Redirect(302, strings.Replace(plain.URL(), "http://", "HTTP://", 1)+"/r.git"))
	_, err := newStore(t, git.Options{}).Resolve(t.Context(), git.Remote{URL: strings.Replace(repo.URL(), "https", "HTTPS", 1), Auth: git.Auth{CA: server.CA()}}, onMain)
	wantFault(t, err, fault.Retry, git.ReasonRedirectRefused)
	if n := len(plain.Requests()); n > 0 {
		t.Errorf("the plain server was asked %s", fmt.Sprint(plain.Requests()))
	}
}
