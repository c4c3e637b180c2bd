// Package gitserver serves the bare repositories below a folder over Git's
// smart HTTP protocol, for fetch and push, with the git program's own
// http-backend.
//
// A [Handler] promises that nothing outside its folder can be reached,
// neither by a path nor by a symbolic link, and that, when credentials are
// set, a request without them gets no answer but 401. After a push that moved
// a ref it tells whoever wants a hint.
//
// Listening, TLS and what a hint is sent with are left to the caller.
package gitserver

import (
	"crypto/sha256"
	"crypto/subtle"
	"io/fs"
	"net/http"
	"net/http/cgi"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
)

// A Push is one ref that a push moved.
type Push struct {
	Path     string `json:"-"`        // of the repository below the root, with slashes
	URL      string `json:"url"`      // set by whoever knows where the server listens
	Ref      string `json:"ref"`      // in full
	Revision string `json:"revision"` // the commit or tag object it points to now; empty if it was deleted
}

// A Handler is the server. With User and Password, or Token, set it asks for
// them; a token is accepted as a bearer token and as the password of any user.
type Handler struct {
	Root     string // the folder of the repositories, without symbolic links
	Git      string // the git program
	User     string
	Password string
	Token    string

	// Pushed gets what a push moved. The pusher waits for it to return. It
	// may be called concurrently.
	Pushed func([]Push)

	// Log gets a line for each failure that the client doesn't hear of.
	Log func(format string, args ...any)

	locks sync.Map // repository path → *sync.Mutex: one push at a time
}

// NewHandler returns a handler for the folder root.
func NewHandler(root, git string) (*Handler, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	// The links of the root itself are the caller's.
	if root, err = filepath.EvalSymlinks(root); err != nil {
		return nil, err
	}
	return &Handler{Root: root, Git: git, Pushed: func([]Push) {}, Log: func(string, ...any) {}}, nil
}

// A service is what a request wants of a repository.
type service string

const (
	fetch service = "git-upload-pack"
	push  service = "git-receive-pack"
)

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !h.authorized(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="plumb-sandbox"`)
		http.Error(w, "credentials are missing or wrong", http.StatusUnauthorized)
		return
	}
	name, endpoint, ok := split(r)
	if !ok {
		http.Error(w, "this server speaks Git's smart HTTP protocol only", http.StatusNotFound)
		return
	}
	repo, ok := h.find(name)
	if !ok {
		http.Error(w, "no such repository", http.StatusNotFound)
		return
	}
	if endpoint == string(push) {
		h.push(w, r, repo)
		return
	}
	h.backend(w, r, repo, endpoint)
}

func (h *Handler) authorized(r *http.Request) bool {
	user, password, basic := r.BasicAuth()
	bearer, isBearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case h.Token != "":
		return isBearer && same(bearer, h.Token) || basic && same(password, h.Token)
	case h.User != "" || h.Password != "":
		return basic && same(user, h.User) && same(password, h.Password)
	}
	return true
}

// same compares in a time that tells nothing about want.
func same(got, want string) bool {
	g, w := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(g[:], w[:]) == 1
}

// split finds the repository and the endpoint in a request's path.
func split(r *http.Request) (repo, endpoint string, ok bool) {
	switch r.Method {
	case http.MethodGet:
		endpoint = "info/refs"
		if s := service(r.URL.Query().Get("service")); s != fetch && s != push {
			return "", "", false
		}
	case http.MethodPost:
		endpoint = path.Base(r.URL.Path)
		if s := service(endpoint); s != fetch && s != push {
			return "", "", false
		}
	}
	repo, ok = strings.CutSuffix(r.URL.Path, "/"+endpoint)
	return strings.TrimPrefix(repo, "/"), endpoint, ok && endpoint != ""
}

// find returns the path below the root of the bare repository called name,
// which may lack the ending .git.
func (h *Handler) find(name string) (repo string, ok bool) {
	if !fs.ValidPath(name) || name == "." || strings.ContainsRune(name, 0) {
		return "", false
	}
	for _, repo := range []string{name, name + ".git"} {
		dir := filepath.Join(h.Root, filepath.FromSlash(repo))
		// A path that is the same with its links followed has none.
		if real, err := filepath.EvalSymlinks(dir); err != nil || real != dir {
			continue
		}
		if isBare(dir) {
			return repo, true
		}
	}
	return "", false
}

func isBare(dir string) bool {
	for _, entry := range []string{"objects", "refs"} {
		// A link here would lead out of the root as well.
		if info, err := os.Lstat(filepath.Join(dir, entry)); err != nil || !info.IsDir() {
			return false
		}
	}
	info, err := os.Lstat(filepath.Join(dir, "HEAD"))
	return err == nil && info.Mode().IsRegular()
}

// push runs one push and tells what it moved. Pushes to one repository wait
// for each other, so that each is told its own.
func (h *Handler) push(w http.ResponseWriter, r *http.Request, repo string) {
	lock, _ := h.locks.LoadOrStore(repo, &sync.Mutex{})
	mu := lock.(*sync.Mutex)
	mu.Lock()
	defer mu.Unlock()

	before, err := h.refs(repo)
	if err != nil {
		h.Log("%s: list refs: %v", repo, err)
	}
	h.backend(w, r, repo, string(push))
	after, err := h.refs(repo)
	if err != nil {
		h.Log("%s: list refs: %v", repo, err)
		return
	}
	if moved := diff(repo, before, after); len(moved) > 0 {
		h.Pushed(moved)
	}
}

// gitConfig is what every repository here is served with, whatever its own
// and the machine's configuration say.
var gitConfig = []string{
	"GIT_CONFIG_NOSYSTEM=1",
	"GIT_CONFIG_GLOBAL=" + os.DevNull,
	"GIT_CONFIG_COUNT=4",
	"GIT_CONFIG_KEY_0=http.receivepack", "GIT_CONFIG_VALUE_0=true",
	"GIT_CONFIG_KEY_1=uploadpack.allowFilter", "GIT_CONFIG_VALUE_1=true",
	"GIT_CONFIG_KEY_2=uploadpack.allowAnySHA1InWant", "GIT_CONFIG_VALUE_2=true",
	"GIT_CONFIG_KEY_3=safe.directory", "GIT_CONFIG_VALUE_3=*",
}

func (h *Handler) backend(w http.ResponseWriter, r *http.Request, repo, endpoint string) {
	env := append([]string{
		"GIT_PROJECT_ROOT=" + h.Root,
		"GIT_HTTP_EXPORT_ALL=1",
		"GIT_PROTOCOL=" + r.Header.Get("Git-Protocol"),
	}, gitConfig...)
	backend := &cgi.Handler{
		Path: h.Git,
		Args: []string{"http-backend"},
		Dir:  h.Root,
		Env:  env,
	}
	r = r.Clone(r.Context())
	r.URL.Path = "/" + repo + "/" + endpoint
	// Without a length the backend reads to the end, which suits a chunked
	// body, but package cgi doesn't know.
	r.TransferEncoding = nil
	r.Header.Del("Authorization") // no business of git or its hooks
	backend.ServeHTTP(w, r)
}
