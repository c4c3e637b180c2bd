package oci

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/archive"
	"plumb.dev/plumb/source/web"
	"plumb.dev/plumb/tree"
)

// A Layer says which layer of an artifact counts, and what is made of it.
type Layer struct {
	Kind      Kind
	MediaType string   // of First: only layers of this type
	Allowed   []string // of Only: types that it may have; empty: OnlyTypes
	// Copy keeps the layer as it is, as one file in an empty directory, which is
	// called by the digest of the manifest: sha256:….tgz. In Flux who reads a
	// copied artifact unpacks it himself, as one that was unpacked and packed
	// again; so what a Kustomization or HelmRelease sees of one is the layer
	// unpacked, with nothing ignored.
	Copy bool
}

// A Kind is a rule of which layer of an artifact counts.
type Kind uint8

const (
	// First: the first layer, or the first of a media type.
	First Kind = iota
	// Chart: the layer of Helm's media type, without the directory that all of a
	// chart is in.
	Chart
	// Only: the one layer that is an archive, as in Argo CD. There must not be two.
	// One of Helm's media type loses its directory.
	Only
)

// ChartType is the media type of the layer that holds a chart.
const ChartType = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"

// chartConfig is that of a chart's config, which tells one in an index.
const chartConfig = "application/vnd.cncf.helm.config.v1+json"

// OnlyTypes are the media types that Argo CD allows unless it is told others.
var OnlyTypes = []string{v1.MediaTypeImageLayer, v1.MediaTypeImageLayerGzip, ChartType}

func (l Layer) fields() []string {
	return append([]string{fmt.Sprint(l.Kind, l.Copy), l.MediaType}, l.Allowed...)
}

// stripped reports whether a layer loses the directory that all of it is in.
func (l Layer) stripped(d v1.Descriptor) bool {
	return l.Kind == Chart || l.Kind == Only && d.MediaType == ChartType
}

// maxLayers is how many layers an artifact may have.
const maxLayers = 1000

func invalidArtifact(hint, format string, args ...any) *fault.Error {
	f := web.Failure(ReasonInvalidArtifact, format, args...)
	f.Hint = hint
	return f
}

// choose returns the layer of a manifest that counts.
func (l Layer) choose(m v1.Manifest) (v1.Descriptor, error) {
	if len(m.Layers) > maxLayers {
		return v1.Descriptor{}, invalidArtifact("", "the artifact has %d layers, and may have %d", len(m.Layers), maxLayers)
	}
	wanted := l.MediaType
	switch l.Kind {
	case Chart:
		wanted = ChartType
	case Only:
		return l.only(m)
	}
	for _, d := range m.Layers {
		if wanted == "" || d.MediaType == wanted {
			return d, nil
		}
	}
	if wanted == "" {
		return v1.Descriptor{}, invalidArtifact("", "the artifact has no layers")
	}
	return v1.Descriptor{}, invalidArtifact("it has "+types(m.Layers), "the artifact has no layer of the media type %s", web.OneLine(wanted, 200))
}

func (l Layer) only(m v1.Manifest) (v1.Descriptor, error) {
	allowed := l.Allowed
	if len(allowed) == 0 {
		allowed = OnlyTypes
	}
	var found []v1.Descriptor
	for _, d := range m.Layers {
		if strings.HasSuffix(d.MediaType, "tar+gzip") || strings.HasSuffix(d.MediaType, "tar") {
			found = append(found, d)
		}
	}
	if len(found) != 1 {
		return v1.Descriptor{}, invalidArtifact("it has "+types(m.Layers), "the artifact has %d layers that are archives, and must have one", len(found))
	}
	if !slices.Contains(allowed, found[0].MediaType) {
		return v1.Descriptor{}, invalidArtifact("allowed are "+strings.Join(allowed, ", "),
			"the media type %s of the artifact's layer is not allowed", web.OneLine(found[0].MediaType, 200))
	}
	return found[0], nil
}

// types lists the media types of layers, for people.
func types(layers []v1.Descriptor) string {
	var all []string
	for _, d := range layers {
		if t := web.OneLine(d.MediaType, 100); !slices.Contains(all, t) && len(all) < 5 {
			all = append(all, t)
		}
	}
	if len(all) == 0 {
		return "no layers"
	}
	return strings.Join(all, ", ")
}

// Media types of manifests and indexes. Docker's have the same form.
const (
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// A document is what a registry has under a digest.
type document struct {
	manifest v1.Manifest
	index    *v1.Index // it is one
}

// parse reads a document that was sent as a media type. What could be read in
// two ways is refused: then a signature of one reading would be taken for one of
// the other.
func parse(b []byte, sentAs string) (document, error) {
	var form struct {
		MediaType string          `json:"mediaType"`
		Layers    json.RawMessage `json:"layers"`
		Config    json.RawMessage `json:"config"`
		Manifests json.RawMessage `json:"manifests"`
		FSLayers  json.RawMessage `json:"fsLayers"`
	}
	if err := json.Unmarshal(b, &form); err != nil {
		return document{}, invalidArtifact("", "the manifest is no JSON that could be one")
	}
	mediaType := form.MediaType
	if mediaType == "" {
		mediaType = sentAs
	}
	if mediaType != sentAs && sentAs != "" {
		return document{}, invalidArtifact("", "a document of the type %s was sent as %s", web.OneLine(mediaType, 100), web.OneLine(sentAs, 100))
	}
	layered := form.Layers != nil || form.Config != nil || form.FSLayers != nil
	switch mediaType {
	case v1.MediaTypeImageManifest, dockerManifest:
		if form.Manifests != nil || form.FSLayers != nil {
			return document{}, invalidArtifact("", "the manifest could be read as an index too")
		}
		var d document
		if err := json.Unmarshal(b, &d.manifest); err != nil {
			return d, invalidArtifact("", "the manifest does not have a manifest's fields")
		}
		return d, nil
	case v1.MediaTypeImageIndex, dockerIndex:
		if layered {
			return document{}, invalidArtifact("", "the index could be read as a manifest too")
		}
		d := document{index: new(v1.Index)}
		if err := json.Unmarshal(b, d.index); err != nil {
			return d, invalidArtifact("", "the index does not have an index's fields")
		}
		return d, nil
	}
	return document{}, invalidArtifact("", "a document of the type %s is no manifest", web.OneLine(mediaType, 100))
}

// pick returns the manifest of an index that counts: the only one, or the one
// that is a chart if one is wanted, or else that for linux/amd64, as Flux does.
func (l Layer) pick(x v1.Index) (v1.Descriptor, error) {
	var all, chosen []v1.Descriptor
	for _, d := range x.Manifests {
		if d.MediaType != v1.MediaTypeImageManifest && d.MediaType != dockerManifest {
			continue
		}
		all = append(all, d)
		switch p := d.Platform; {
		case l.Kind == Chart:
			if d.ArtifactType == chartConfig {
				chosen = append(chosen, d)
			}
		case p != nil && p.OS == "linux" && p.Architecture == "amd64":
			chosen = append(chosen, d)
		}
	}
	if len(all) == 1 {
		return all[0], nil
	}
	if len(chosen) == 0 {
		return v1.Descriptor{}, invalidArtifact("refer to one of them by its digest", "the index has %d manifests, and none of them is the one that counts", len(all))
	}
	return chosen[0], nil
}

// commit returns what annotations say of where an artifact comes from.
func commit(annotations map[string]string) source.Commit {
	var c source.Commit
	c.ID = web.OneLine(annotations[v1.AnnotationRevision], 200)
	if _, hash, ok := strings.Cut(c.ID, "@sha1:"); ok { // as flux push artifact has it
		c.ID = hash
	}
	c.ID = strings.TrimPrefix(c.ID, "sha1:")
	c.Author = web.OneLine(annotations[v1.AnnotationAuthors], 200)
	if when, err := time.Parse(time.RFC3339, annotations[v1.AnnotationCreated]); err == nil {
		c.When = when
	}
	return c
}

// unpack makes of a layer what is wanted of it.
func (l Layer) unpack(ctx context.Context, b *archive.Builder, d v1.Descriptor, of string, spool *archive.Spool) error {
	if l.Copy {
		return b.File(of+".tgz", spool.Reader())
	}
	return archive.Untar(ctx, spool.Reader(), b, archive.Options{Top: l.stripped(d)})
}

// ChartDir returns the directory of a tree that is a chart: the whole tree, or
// the one directory that an archive of a chart has. It is for who wants a chart
// of an artifact that was not fetched as one, as a HelmRelease with a chartRef.
func ChartDir(t tree.Tree) (string, error) {
	if e, err := t.Lookup("Chart.yaml"); err == nil && e.Kind == tree.File {
		return ".", nil
	}
	entries, err := t.ReadDir(".")
	if err != nil {
		return "", err
	}
	found := ""
	for _, e := range entries {
		if e.Kind != tree.Dir {
			continue
		}
		if in, err := t.Lookup(e.Name + "/Chart.yaml"); err != nil || in.Kind != tree.File {
			continue
		}
		if found != "" {
			return "", invalidChart("the directories %q and %q are charts, and only one may be", web.OneLine(found, 100), web.OneLine(e.Name, 100))
		}
		found = e.Name
	}
	if found == "" {
		return "", invalidChart("there is no Chart.yaml in the artifact, nor in a directory of it")
	}
	return found, nil
}

func invalidChart(format string, args ...any) error {
	return &fault.Error{Next: fault.Stall, Reason: ReasonInvalidArtifact, Err: fmt.Errorf(format, args...)}
}
