// Package s3test serves a bucket of the S3 protocol to tests.
//
// It lists objects and gives them out to who signs requests with its keys,
// which it checks by itself, counts what is asked of it and sent, and can be
// made to fail in the ways that such servers do. Of the protocol it has what
// reading takes: ListObjectsV2, GetObject, HeadObject and GetBucketLocation, by
// paths.
package s3test

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"plumb.dev/plumb/internal/webtest"
)

// Region is where the bucket is.
const Region = "us-east-1"

// A Server has one bucket.
type Server struct {
	webtest.Front
	http   *httptest.Server
	bucket string

	mu      sync.Mutex
	objects map[string]object // nil: there is no bucket
	access  string            // empty: whoever asks
	secret  string
	page    int
}

type object struct {
	content []byte
	etag    string
}

// A Request is what a client sent.
type Request = webtest.Request

// A Fault answers a request in place of the server, or reports that it does not.
type Fault = webtest.Fault

// New returns a server over HTTP that has an empty bucket.
func New(t testing.TB, bucket string) *Server {
	t.Helper()
	s := &Server{bucket: bucket, objects: make(map[string]object), page: 1000}
	s.http = httptest.NewServer(s)
	t.Cleanup(s.http.Close)
	return s
}

// NewTLS returns a server over HTTPS that has an empty bucket.
func NewTLS(t testing.TB, bucket string) *Server {
	t.Helper()
	s := &Server{bucket: bucket, objects: make(map[string]object), page: 1000}
	s.http = webtest.TLS(t, s, nil, true)
	return s
}

// Endpoint is the server's host and port.
func (s *Server) Endpoint() string {
	return strings.TrimPrefix(strings.TrimPrefix(s.http.URL, "https://"), "http://")
}

// CA is the certificate to trust, in PEM.
func (s *Server) CA() []byte { return webtest.CA(s.http) }

// Set makes these all objects of the bucket; nil removes the bucket.
func (s *Server) Set(objects map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects = nil
	if objects == nil {
		return
	}
	s.objects = make(map[string]object, len(objects))
	for key, content := range objects {
		s.put(key, content)
	}
}

// Put stores one object.
func (s *Server) Put(key, content string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(key, content)
}

func (s *Server) put(key, content string) {
	sum := md5.Sum([]byte(content))
	s.objects[key] = object{[]byte(content), hex.EncodeToString(sum[:])}
}

// Require lets in only who signs with these keys.
func (s *Server) Require(access, secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.access, s.secret = access, secret
}

// Page sets how many objects are in one answer.
func (s *Server) Page(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.page = n
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w = s.Count(w, Request{Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Header: r.Header.Clone()})
	s.mu.Lock()
	access, secret := s.access, s.secret
	s.mu.Unlock()
	if access != "" {
		if code := verify(r, access, secret); code != "" {
			refuse(w, http.StatusForbidden, code)
			return
		}
	}
	s.Answer(w, r, http.HandlerFunc(s.serve))
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	objects, page := s.objects, s.page
	found := maps.Clone(objects)
	s.mu.Unlock()
	path, key, isObject := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	query := r.URL.Query()
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		refuse(w, http.StatusMethodNotAllowed, "MethodNotAllowed")
	case path != s.bucket || objects == nil:
		refuse(w, http.StatusNotFound, "NoSuchBucket")
	case query.Has("location"):
		fmt.Fprintf(w, `<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/">%s</LocationConstraint>`, Region)
	case query.Get("list-type") == "2" && !(isObject && key != ""):
		list(w, found, query, page)
	default:
		o, ok := found[key]
		switch {
		case !ok:
			refuse(w, http.StatusNotFound, "NoSuchKey")
		case r.Header.Get("If-Match") != "" && strings.Trim(r.Header.Get("If-Match"), `"`) != o.etag:
			refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
		default:
			sum := sha256.Sum256(o.content)
			w.Header().Set("ETag", `"`+o.etag+`"`)
			w.Header().Set("Last-Modified", time.Unix(1e9, 0).UTC().Format(http.TimeFormat))
			w.Header().Set("Content-Length", strconv.Itoa(len(o.content)))
			if r.Header.Get("X-Amz-Checksum-Mode") == "ENABLED" {
				w.Header().Set("X-Amz-Checksum-Sha256", base64.StdEncoding.EncodeToString(sum[:]))
			}
			if r.Method == http.MethodGet {
				_, _ = io.Copy(w, bytes.NewReader(o.content))
			}
		}
	}
}

type listing struct {
	XMLName               xml.Name `xml:"ListBucketResult"`
	EncodingType          string
	IsTruncated           bool
	NextContinuationToken string `xml:",omitempty"`
	Contents              []entry
}

type entry struct {
	Key          string
	LastModified string
	ETag         string
	Size         int
}

func list(w http.ResponseWriter, objects map[string]object, query url.Values, page int) {
	l := listing{EncodingType: "url"}
	for _, key := range slices.Sorted(maps.Keys(objects)) {
		if !strings.HasPrefix(key, query.Get("prefix")) || key <= query.Get("continuation-token") {
			continue
		}
		if len(l.Contents) == page {
			l.IsTruncated, l.NextContinuationToken = true, unescape(l.Contents[page-1].Key)
			break
		}
		o := objects[key]
		l.Contents = append(l.Contents, entry{
			Key: url.QueryEscape(key), LastModified: "2001-09-09T01:46:40.000Z", ETag: `"` + o.etag + `"`, Size: len(o.content),
		})
	}
	w.Header().Set("Content-Type", "application/xml")
	_ = xml.NewEncoder(w).Encode(l)
}

func unescape(s string) string {
	s, err := url.QueryUnescape(s)
	if err != nil {
		panic(err) // it was escaped here
	}
	return s
}

func refuse(w http.ResponseWriter, code int, reason string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(code)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>no</Message></Error>", reason)
}
