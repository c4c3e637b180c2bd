package gittest

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// A Proxy lets in one user.
type Proxy struct {
	scheme string
	l      net.Listener
	ctx    context.Context // of the test

	mu    sync.Mutex
	conns []net.Conn
	used  int
}

// URL is the proxy's address, without user and password.
func (p *Proxy) URL() string { return p.scheme + "://" + p.l.Addr().String() }

// Connections is how many connections were let through.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used
}

// HTTPProxy starts a proxy that knows CONNECT and plain requests.
func HTTPProxy(t testing.TB, user, password string) *Proxy {
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	return startProxy(t, "http", func(p *Proxy, conn net.Conn) {
		in := bufio.NewReader(conn)
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if req.Header.Get("Proxy-Authorization") != want {
			fmt.Fprint(conn, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			return
		}
		if req.Method == http.MethodConnect {
			p.join(conn, in, req.Host, "HTTP/1.1 200 OK\r\n\r\n")
			return
		}
		out, err := p.dial(req.Host)
		if err != nil {
			return
		}
		p.track(out)
		req.Header.Del("Proxy-Authorization")
		req.Close = true // one request to a connection keeps this simple
		if req.Write(out) == nil {
			_, _ = io.Copy(conn, out)
		}
	})
}

// SOCKSProxy starts a SOCKS 5 proxy.
func SOCKSProxy(t testing.TB, user, password string) *Proxy {
	return startProxy(t, "socks5", func(p *Proxy, conn net.Conn) {
		in := bufio.NewReader(conn)
		field := func() []byte { // a length and that many bytes
			n, err := in.ReadByte()
			if err != nil {
				return nil
			}
			b := make([]byte, n)
			_, _ = io.ReadFull(in, b)
			return b
		}
		_, _ = in.ReadByte() // version
		field()              // methods
		_, _ = conn.Write([]byte{5, 2})
		_, _ = in.ReadByte()
		u, pw := field(), field()
		if string(u) != user || string(pw) != password {
			_, _ = conn.Write([]byte{1, 1})
			return
		}
		_, _ = conn.Write([]byte{1, 0})
		head := make([]byte, 4)
		if _, err := io.ReadFull(in, head); err != nil {
			return
		}
		var host string
		switch head[3] {
		case 1:
			b := make([]byte, 4)
			_, _ = io.ReadFull(in, b)
			host = net.IP(b).String()
		case 3:
			host = string(field())
		}
		port := make([]byte, 2)
		_, _ = io.ReadFull(in, port)
		p.join(conn, in, fmt.Sprintf("%s:%d", host, int(port[0])<<8|int(port[1])), "\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
	})
}

func startProxy(t testing.TB, scheme string, serve func(*Proxy, net.Conn)) *Proxy {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{scheme: scheme, l: l, ctx: t.Context()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.track(conn)
			wg.Go(func() {
				defer conn.Close()
				serve(p, conn)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.mu.Lock()
		for _, c := range p.conns {
			c.Close()
		}
		p.mu.Unlock()
		wg.Wait()
	})
	return p
}

func (p *Proxy) dial(addr string) (net.Conn, error) {
	return new(net.Dialer).DialContext(p.ctx, "tcp", addr)
}

func (p *Proxy) track(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns = append(p.conns, c)
	p.used++
}

// join connects conn with addr, after greeting.
func (p *Proxy) join(conn net.Conn, in io.Reader, addr, greeting string) {
	out, err := p.dial(addr)
	if err != nil {
		return
	}
	p.track(out)
	defer out.Close()
	if _, err := io.WriteString(conn, greeting); err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(out, in)
		out.Close()
	}()
	_, _ = io.Copy(conn, out)
}

// ClientCertificate returns a certificate for mutual TLS with its key, and the
// pool that a server knows it by.
func ClientCertificate(t testing.TB) (cert, key []byte, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "plumb"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AddCert(parsed)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), pool
}
