package ocitest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// Media types of what is pushed in tests.
const (
	Manifest     = "application/vnd.oci.image.manifest.v1+json"
	Index        = "application/vnd.oci.image.index.v1+json"
	TarGzip      = "application/vnd.oci.image.layer.v1.tar+gzip"
	ChartConfig  = "application/vnd.cncf.helm.config.v1+json"
	ChartContent = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
	Provenance   = "application/vnd.cncf.helm.chart.provenance.v1.prov"
)

// An Artifact is what is pushed under one manifest.
type Artifact struct {
	Config      string // its media type; empty: an empty config
	Layers      []Layer
	Annotations map[string]string
}

// A Layer is a blob of an artifact.
type Layer struct {
	MediaType string
	Content   []byte
}

// A Descriptor refers to a blob or a manifest.
type Descriptor struct {
	MediaType string            `json:"mediaType"`
	Digest    string            `json:"digest"`
	Size      int64             `json:"size"`
	Platform  map[string]string `json:"platform,omitempty"`
}

// Files is an artifact of one layer that holds files.
func Files(files map[string]string) Artifact {
	return Artifact{Layers: []Layer{{TarGzip, Tar(files)}}}
}

// Chart is a chart as Helm pushes it; files are beside its Chart.yaml.
func Chart(name, version string, files map[string]string) Artifact {
	all := map[string]string{name + "/Chart.yaml": "apiVersion: v2\nname: " + name + "\nversion: " + version + "\n"}
	for at, content := range files {
		all[name+"/"+at] = content
	}
	return Artifact{Config: ChartConfig, Layers: []Layer{{ChartContent, Tar(all)}}}
}

// Push pushes an artifact under a tag, or only by its digest if that is empty,
// and returns the digest.
func (s *Server) Push(t testing.TB, repo, tag string, a Artifact) string {
	t.Helper()
	describe := func(mediaType string, b []byte) Descriptor {
		return Descriptor{MediaType: mediaType, Digest: s.PutBlob(t, repo, b), Size: int64(len(b))}
	}
	config := a.Config
	if config == "" {
		config = "application/vnd.oci.empty.v1+json"
	}
	layers := []Descriptor{}
	for _, l := range a.Layers {
		layers = append(layers, describe(l.MediaType, l.Content))
	}
	return s.PutManifest(t, repo, tag, Manifest, JSON(t, map[string]any{
		"schemaVersion": 2, "mediaType": Manifest, "config": describe(config, []byte("{}")),
		"layers": layers, "annotations": a.Annotations,
	}))
}

// PushIndex pushes an index of what was pushed before.
func (s *Server) PushIndex(t testing.TB, repo, tag string, manifests ...Descriptor) string {
	t.Helper()
	return s.PutManifest(t, repo, tag, Index, JSON(t, map[string]any{"schemaVersion": 2, "mediaType": Index, "manifests": manifests}))
}

// JSON is what v is in it.
func JSON(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Tar is a compressed tar file of files; content that starts with "-> " is a
// link.
func Tar(files map[string]string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(files[name])), ModTime: time.Unix(1e9, 0)}
		content := files[name]
		if to, ok := strings.CutPrefix(content, "-> "); ok {
			h.Typeflag, h.Linkname, h.Size, content = tar.TypeSymlink, to, 0, ""
		}
		must(w.WriteHeader(h))
		_, err := w.Write([]byte(content))
		must(err)
	}
	must(w.Close())
	must(z.Close())
	return b.Bytes()
}

// must ends a test for what can't fail in memory.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
