package chartserver

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"sigs.k8s.io/yaml"
)

// A chart is a packed one.
type chart struct {
	dir      string         // below the root, with slashes
	metadata map[string]any // what Chart.yaml says
	name     string
	version  string
	archive  []byte
}

func (c chart) file() string { return c.name + "-" + c.version + ".tgz" }

func (c chart) digest() string {
	sum := sha256.Sum256(c.archive)
	return hex.EncodeToString(sum[:])
}

const chartFile = "Chart.yaml"

// find packs all charts below a folder, those of one name with the newest
// first. A chart in a chart is a part of that one.
func find(root string) (all []chart, err error) {
	err = filepath.WalkDir(root, func(dir string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		if _, err := os.Stat(filepath.Join(dir, chartFile)); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		c, err := load(root, dir)
		if err != nil {
			return err
		}
		all = append(all, c)
		return fs.SkipDir
	})
	slices.SortStableFunc(all, func(a, b chart) int {
		if n := strings.Compare(a.name, b.name); n != 0 {
			return n
		}
		return compare(b.version, a.version)
	})
	return all, err
}

// compare orders versions; what is no version comes before those that are.
func compare(a, b string) int {
	x, errX := semver.NewVersion(a)
	y, errY := semver.NewVersion(b)
	switch {
	case errX == nil && errY == nil:
		return x.Compare(y)
	case errX == nil:
		return 1
	case errY == nil:
		return -1
	}
	return strings.Compare(a, b)
}

func load(root, dir string) (chart, error) {
	rel, err := filepath.Rel(root, dir)
	if err != nil {
		return chart{}, err
	}
	c := chart{dir: filepath.ToSlash(rel)}
	if c.metadata, err = metadata(dir); err != nil {
		return c, err
	}
	c.name, _ = c.metadata["name"].(string)
	c.version, _ = c.metadata["version"].(string)
	if c.name == "" || c.version == "" || strings.ContainsAny(c.name+c.version, `/\`) {
		return c, fmt.Errorf("%s: name and version have to be texts without slashes", filepath.Join(dir, chartFile))
	}
	c.archive, err = pack(dir, c.name)
	return c, err
}

func metadata(dir string) (m map[string]any, err error) {
	file := filepath.Join(dir, chartFile)
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if err := yaml.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return m, nil
}

// pack makes the archive of a chart. It is the same for the same files.
func pack(dir, name string) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	if err := add(w, dir, name, 0); err != nil {
		return nil, fmt.Errorf("pack %s: %w", dir, err)
	}
	err := errors.Join(w.Close(), z.Close())
	return b.Bytes(), err
}

// deepest is how far charts may depend on charts of other folders.
const deepest = 10

// add adds a chart as the folder to, and those that it depends on by file://
// unless they are under its own charts already.
func add(w *tar.Writer, dir, to string, depth int) error {
	if depth > deepest {
		return fmt.Errorf("charts depend on each other more than %d deep", deepest)
	}
	err := filepath.WalkDir(dir, func(file string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		header := &tar.Header{Name: path.Join(to, filepath.ToSlash(rel)), Mode: 0o644, Size: int64(len(content))}
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		_, err = w.Write(content)
		return err
	})
	if err != nil {
		return err
	}
	m, err := metadata(dir)
	if err != nil {
		return err
	}
	dependencies, _ := m["dependencies"].([]any)
	for _, d := range dependencies {
		d, _ := d.(map[string]any)
		name, _ := d["name"].(string)
		repository, _ := d["repository"].(string)
		from, local := strings.CutPrefix(repository, "file://")
		if !local || name == "" {
			continue
		}
		if there, err := filepath.Glob(filepath.Join(dir, "charts", name+"*")); err != nil || len(there) > 0 {
			continue
		}
		if err := add(w, filepath.Join(dir, from), path.Join(to, "charts", name), depth+1); err != nil {
			return err
		}
	}
	return nil
}
