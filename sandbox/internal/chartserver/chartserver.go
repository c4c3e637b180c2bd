// Package chartserver serves the charts below a folder as Helm repositories
// over HTTP, and as artifacts of an OCI registry at the same address.
//
// A chart is a folder with a Chart.yaml; it is packed when it is asked for, so
// that a changed file is in the next answer, and the archive is the same for
// the same files. Each folder is a repository of the charts below it:
//
//	/index.yaml              all charts
//	/team/index.yaml         those below team/
//	/team/shop-1.2.3.tgz     an archive
//	/v2/charts/shop/…        the registry: charts/NAME, tagged by VERSION
//
// The registry gets what there is when the server starts, and whatever is
// pushed to it after that. A [Handler] promises that, when credentials are
// set, a request without them gets no answer but 401. It doesn't go by a
// .helmignore.
package chartserver

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"sigs.k8s.io/yaml"
)

// A Handler is the server. With Username and Password set it asks for them.
type Handler struct {
	Root     string
	Username string
	Password string

	oci http.Handler
}

// NewHandler returns a handler for the folder root, with all of its charts in
// the registry.
func NewHandler(root string) (*Handler, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	h := &Handler{Root: root, oci: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	charts, err := find(root)
	if err != nil {
		return nil, err
	}
	for _, c := range charts {
		if err := h.push(c); err != nil {
			return nil, fmt.Errorf("push %s %s: %w", c.name, c.version, err)
		}
	}
	return h, nil
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !h.authorized(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="plumb-sandbox"`)
		http.Error(w, "credentials are missing or wrong", http.StatusUnauthorized)
		return
	}
	if r.URL.Path == "/v2" || strings.HasPrefix(r.URL.Path, "/v2/") {
		h.oci.ServeHTTP(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "a Helm repository is only read", http.StatusMethodNotAllowed)
		return
	}
	folder, file := path.Split(path.Clean("/" + r.URL.Path))
	h.repository(w, r, strings.Trim(folder, "/"), file)
}

func (h *Handler) authorized(r *http.Request) bool {
	if h.Username == "" && h.Password == "" {
		return true
	}
	user, password, ok := r.BasicAuth()
	return ok && same(user, h.Username) && same(password, h.Password)
}

// same compares in a time that tells nothing about want.
func same(got, want string) bool {
	g, w := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(g[:], w[:]) == 1
}

// repository answers with a file of the repository of a folder.
func (h *Handler) repository(w http.ResponseWriter, r *http.Request, folder, file string) {
	all, err := find(h.Root)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	var charts []chart
	for _, c := range all {
		if folder == "" || c.dir == folder || strings.HasPrefix(c.dir, folder+"/") {
			charts = append(charts, c)
		}
	}
	if len(charts) == 0 {
		http.NotFound(w, r)
		return
	}
	send := func(kind string, content []byte) {
		w.Header().Set("Content-Type", kind)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}
	if file == "index.yaml" {
		content, err := yaml.Marshal(index(charts))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		send("application/yaml", content)
		return
	}
	for _, c := range charts {
		if c.file() == file {
			send("application/gzip", c.archive)
			return
		}
	}
	http.NotFound(w, r)
}

// never is when charts are said to be made: an index is the same for the same
// charts.
var never = time.Unix(0, 0).UTC().Format(time.RFC3339)

// index is the index of a repository of charts.
func index(charts []chart) map[string]any {
	entries := map[string][]map[string]any{}
	for _, c := range charts {
		entry := map[string]any{}
		for k, v := range c.metadata {
			entry[k] = v
		}
		entry["urls"] = []string{c.file()}
		entry["digest"] = c.digest()
		entry["created"] = never
		entries[c.name] = append(entries[c.name], entry)
	}
	return map[string]any{"apiVersion": "v1", "generated": never, "entries": entries}
}

// Media types of a chart in a registry.
const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.cncf.helm.config.v1+json"
	contentType  = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
)

// push puts a chart into the registry. A tag can't hold the + of a version.
func (h *Handler) push(c chart) error {
	name, tag := "charts/"+c.name, strings.ReplaceAll(c.version, "+", "_")
	config, err := json.Marshal(c.metadata)
	if err != nil {
		return err
	}
	blob := func(mediaType string, content []byte) (map[string]any, error) {
		sum := sha256.Sum256(content)
		digest := "sha256:" + hex.EncodeToString(sum[:])
		err := h.do(http.MethodPost, "/v2/"+name+"/blobs/uploads/?digest="+url.QueryEscape(digest), "application/octet-stream", content)
		return map[string]any{"mediaType": mediaType, "digest": digest, "size": len(content)}, err
	}
	first, err := blob(configType, config)
	if err != nil {
		return err
	}
	layer, err := blob(contentType, c.archive)
	if err != nil {
		return err
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType, "config": first, "layers": []any{layer},
		"annotations": map[string]string{"org.opencontainers.image.title": c.name, "org.opencontainers.image.version": c.version},
	})
	if err != nil {
		return err
	}
	return h.do(http.MethodPut, "/v2/"+name+"/manifests/"+tag, manifestType, manifest)
}

// do has the registry answer a request.
func (h *Handler) do(method, target, kind string, body []byte) error {
	r, err := http.NewRequest(method, target, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", kind)
	a := &answer{header: http.Header{}, status: http.StatusOK}
	h.oci.ServeHTTP(a, r)
	if a.status >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, target, http.StatusText(a.status), bytes.TrimSpace(a.body.Bytes()))
	}
	return nil
}

// An answer is what a handler has said.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }
