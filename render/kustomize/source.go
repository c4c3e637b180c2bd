package kustomize

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/manifest"
	"plumb.dev/plumb/tree"
)

// mount is where Kustomize sees the root of the tree. It is not "/", because
// Kustomize cleans paths before it asks for them: one that climbs out of "/"
// would come back as a path inside.
const mount = "/plumb"

// A source is the tree as Kustomize sees it: a read-only file system. It
// keeps the first error that Kustomize must not get over, such as a link that
// leads out, since Kustomize tries names and goes on without those that fail.
type source struct {
	ctx    context.Context
	tree   tree.Tree
	limits limits

	overlay map[string][]byte       // files that plumb made or changed, by name
	handed  map[string][]byte       // what Kustomize reads instead of a file, by name
	named   map[string]bool         // manifests that the survey has looked at
	data    map[string]bool         // files that are data, and never parsed as YAML
	files   map[string][]byte       // files read, by resolved name
	checked map[string][]*yaml.Node // what is known of those that were checked
	read    int64
	marks   int

	remote bool               // something was, or may have been, fetched
	disk   filesys.FileSystem // where Kustomize puts it; nil: nothing may be

	spent    bool // the build changes what is global in the process
	warnings []string
	err      error
}

// warn notes what a user should know and the render can go on with.
func (s *source) warn(format string, args ...any) {
	if w := fmt.Sprintf(format, args...); !slices.Contains(s.warnings, w) {
		s.warnings = append(s.warnings, w)
	}
}

// fetches lets Kustomize clone to the disk.
func (s *source) fetches() {
	s.remote, s.disk = true, filesys.MakeFsOnDisk()
}

func newSource(ctx context.Context, t tree.Tree, l limits) *source {
	return &source{
		ctx: ctx, tree: t, limits: l,
		overlay: map[string][]byte{}, handed: map[string][]byte{}, named: map[string]bool{}, data: map[string]bool{},
		files: map[string][]byte{}, checked: map[string][]*yaml.Node{},
	}
}

// resolved returns the name of a file that a kustomization names, and that the
// survey has found.
func (s *source) resolved(k *kustomization, p string) string {
	name, err := tree.Resolve(s.tree, path.Join(k.dir, p))
	if err != nil {
		return ""
	}
	return name
}

// fail keeps err if it is more than that a name isn't there.
func (s *source) fail(err error) error {
	if err != nil && s.err == nil && !errors.Is(err, fs.ErrNotExist) {
		s.err = err
	}
	return err
}

// name returns the name in the tree of a path that Kustomize asks for. at is
// the path if it is on the disk instead.
func (s *source) name(p string) (name, at string, err error) {
	if !path.IsAbs(p) {
		p = path.Join(mount, p)
	}
	p = path.Clean(p)
	switch {
	case p == mount:
		return ".", "", nil
	case strings.HasPrefix(p, mount+"/"):
		p = p[len(mount)+1:]
	case s.disk != nil && strings.HasPrefix(p, cloneDir()):
		return "", p, nil
	default:
		return "", "", s.fail(escapes(strings.TrimPrefix(p, "/"), ""))
	}
	if _, ok := s.overlay[p]; ok {
		return p, "", nil
	}
	name, err = tree.Resolve(s.tree, p)
	return name, "", s.fail(err)
}

func escapes(p, file string) error {
	err := fmt.Errorf("path %q leads out of the source", p)
	if file != "" {
		err = fmt.Errorf("%s: %w", file, err)
	}
	return render.Stall("PathEscapesSource", "point the path at a file inside the repository", err)
}

// cloneDir is the prefix of the directories that Kustomize clones into.
func cloneDir() string {
	tmp, err := filepath.EvalSymlinks(os.TempDir())
	if err != nil {
		tmp = os.TempDir()
	}
	return filepath.Join(tmp, "kustomize-")
}

// lookup returns the entry of a resolved name.
func (s *source) lookup(name string) (tree.Entry, error) {
	if _, ok := s.overlay[name]; ok {
		return tree.Entry{Name: path.Base(name), Kind: tree.File}, nil
	}
	e, err := s.tree.Lookup(name)
	return e, s.fail(err)
}

// load returns the content of a resolved name, within the limits.
func (s *source) load(name string) ([]byte, error) {
	if err := s.ctx.Err(); err != nil {
		return nil, s.fail(context.Cause(s.ctx))
	}
	if b, ok := s.overlay[name]; ok {
		return b, nil
	}
	if b, ok := s.files[name]; ok {
		return b, nil
	}
	e, err := s.lookup(name)
	if err != nil {
		return nil, err
	}
	if e.Kind != tree.File {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("is a " + e.Kind.String())}
	}
	b, err := s.tree.ReadFile(name)
	if err != nil {
		return nil, s.fail(err)
	}
	if s.read += int64(len(b)); s.read > s.limits.read {
		return nil, s.fail(tooLarge("%s: the files of this render are larger than %d MiB", name, s.limits.read>>20))
	}
	s.files[name] = b
	return b, nil
}

// manifest is load, for a file that is going to be parsed as YAML.
func (s *source) manifest(name string) ([]byte, []*yaml.Node, error) {
	b, err := s.load(name)
	if err != nil {
		return nil, nil, err
	}
	if d, ok := s.checked[name]; ok {
		return b, d, nil
	}
	d, err := s.parse(b, name)
	if err != nil {
		return nil, nil, s.fail(err)
	}
	s.checked[name] = d
	return b, d, nil
}

// parse is parse, counting what all files of the render hold.
func (s *source) parse(b []byte, file string) ([]*yaml.Node, error) {
	if s.marks += manifest.Marks(b); s.marks > s.limits.marks {
		return nil, tooLarge("%s: the manifests of this render hold more than %d values", file, s.limits.marks)
	}
	return manifest.Parse(b, file, s.limits.manifest())
}

// ReadFile implements filesys.FileSystem.
func (s *source) ReadFile(p string) ([]byte, error) {
	dir, raw := strings.CutSuffix(p, "/"+asData)
	name, at, err := s.name(dir)
	if err != nil {
		return nil, err
	}
	if at != "" {
		b, err := s.disk.ReadFile(at)
		if err != nil {
			return nil, err
		}
		return b, s.fail(s.inspectRemote(at, b))
	}
	if b, ok := s.handed[name]; ok && !raw {
		return b, nil
	}
	if s.data[name] {
		return s.load(name)
	}
	if !s.named[name] {
		return nil, s.unnamed(name)
	}
	b, _, err := s.manifest(name)
	return b, err
}

// unnamed is the error for a file that the survey has not looked at. Kustomize
// asks for some that need not be there.
func (s *source) unnamed(name string) error {
	e, err := s.lookup(name)
	switch {
	case err != nil:
		return err
	case e.Kind == tree.Dir:
		return &fs.PathError{Op: "read", Path: name, Err: errors.New("is a directory")}
	}
	return s.fail(disabled("kustomize asks for %s, which nothing names", name))
}

// inspectRemote checks a file that came from elsewhere.
func (s *source) inspectRemote(p string, b []byte) error {
	if s.read += int64(len(b)); s.read > s.limits.read {
		return tooLarge("%s: the files of this render are larger than %d MiB", path.Base(p), s.limits.read>>20)
	}
	if err := s.ctx.Err(); err != nil {
		return context.Cause(s.ctx)
	}
	d, err := s.parse(b, path.Base(p))
	if err != nil || !slices.Contains(konfig.RecognizedKustomizationFileNames(), path.Base(p)) {
		return err
	}
	for _, root := range d {
		if manifest.Field(root, "openapi") != nil {
			// It would change the schema under builds that run meanwhile.
			return disabled("%s: a remote base may not bring an openapi schema", path.Base(p))
		}
	}
	return nil
}

// CleanedAbs implements filesys.FileSystem.
func (s *source) CleanedAbs(p string) (filesys.ConfirmedDir, string, error) {
	name, at, err := s.name(p)
	if err != nil {
		return "", "", err
	}
	if at != "" {
		d, f, err := s.disk.CleanedAbs(at)
		if err == nil && !strings.HasPrefix(d.String(), cloneDir()) {
			err = s.fail(escapes(at, ""))
		}
		return d, f, err
	}
	e, err := s.lookup(name)
	if err != nil {
		return "", "", fmt.Errorf("%q does not exist", name)
	}
	full := path.Join(mount, name)
	if e.Kind == tree.Dir {
		return filesys.ConfirmedDir(full), "", nil
	}
	return filesys.ConfirmedDir(path.Dir(full)), path.Base(full), nil
}

// IsDir implements filesys.FileSystem.
func (s *source) IsDir(p string) bool {
	name, at, err := s.name(p)
	if err != nil {
		return false
	}
	if at != "" {
		return s.disk.IsDir(at)
	}
	e, err := s.lookup(name)
	return err == nil && e.Kind == tree.Dir
}

// Exists implements filesys.FileSystem.
func (s *source) Exists(p string) bool {
	name, at, err := s.name(p)
	if err != nil {
		return false
	}
	if at != "" {
		return s.disk.Exists(at)
	}
	_, err = s.lookup(name)
	return err == nil
}

// ReadDir implements filesys.FileSystem.
func (s *source) ReadDir(p string) ([]string, error) {
	name, at, err := s.name(p)
	if err != nil {
		return nil, err
	}
	if at != "" {
		return s.disk.ReadDir(at)
	}
	entries, err := s.tree.ReadDir(name)
	if err != nil {
		return nil, s.fail(err)
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name
	}
	slices.Sort(names)
	return names, nil
}

// Open implements filesys.FileSystem.
func (s *source) Open(p string) (filesys.File, error) {
	b, err := s.ReadFile(p)
	if err != nil {
		return nil, err
	}
	return &openFile{Reader: strings.NewReader(string(b)), name: path.Base(p), size: int64(len(b))}, nil
}

type openFile struct {
	*strings.Reader
	name string
	size int64
}

func (f *openFile) Write([]byte) (int, error)  { return 0, errReadOnly }
func (f *openFile) Close() error               { return nil }
func (f *openFile) Stat() (os.FileInfo, error) { return f, nil }
func (f *openFile) Name() string               { return f.name }
func (f *openFile) Size() int64                { return f.size }
func (f *openFile) Mode() fs.FileMode          { return 0o444 }
func (f *openFile) ModTime() time.Time         { return time.Time{} }
func (f *openFile) IsDir() bool                { return false }
func (f *openFile) Sys() any                   { return nil }

var errReadOnly = errors.New("the source is read-only")

// Glob implements filesys.FileSystem. No build uses it.
func (s *source) Glob(string) ([]string, error) { return nil, s.fail(errUnsupported) }

// Walk implements filesys.FileSystem. No build uses it.
func (s *source) Walk(string, filepath.WalkFunc) error { return s.fail(errUnsupported) }

var errUnsupported error = &fault.Error{
	Next: fault.Stall, Reason: render.FeatureDisabled, Err: errors.New("kustomize asked for a listing that plumb does not give"),
}

// Create implements filesys.FileSystem.
func (s *source) Create(string) (filesys.File, error) { return nil, errReadOnly }

// Mkdir implements filesys.FileSystem.
func (s *source) Mkdir(string) error { return errReadOnly }

// MkdirAll implements filesys.FileSystem.
func (s *source) MkdirAll(string) error { return errReadOnly }

// WriteFile implements filesys.FileSystem.
func (s *source) WriteFile(string, []byte) error { return errReadOnly }

// RemoveAll implements filesys.FileSystem. Kustomize calls it for the
// directories that it made itself.
func (s *source) RemoveAll(p string) error {
	if s.disk != nil && strings.HasPrefix(path.Clean(p), cloneDir()) {
		return s.disk.RemoveAll(p)
	}
	return errReadOnly
}
