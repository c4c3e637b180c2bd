package helm

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/strvals"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/tree"
)

// values merges the layers and sets the parameters.
func (r *reader) values(o Options) (map[string]any, error) {
	layers, err := r.layers(o)
	if err != nil {
		return nil, err
	}
	merged := map[string]any{}
	for _, l := range layers {
		text := []byte(l.Text)
		if l.File != "" {
			if text, err = r.content(l.File); err != nil {
				return nil, err
			}
		}
		m, err := loader.LoadValues(bytes.NewReader(text))
		if err != nil {
			// What the library says may quote a value.
			return nil, render.Stall(render.BuildFailed, "", render.Quote(fmt.Sprintf("%s: these are no values: %v", l.As, err)))
		}
		merged = loader.MergeMaps(merged, m)
	}
	return merged, r.set(merged, o.Parameters)
}

// layers are those of o with their patterns replaced by files, and without files
// that are not there. A File of what is returned is one to read.
func (r *reader) layers(o Options) ([]Values, error) {
	outright := make(map[string]bool)
	for _, l := range o.Values {
		if l.File != "" && !l.Pattern {
			outright[l.File] = true
		}
	}
	var all []Values
	seen := make(map[string]bool)
	for _, l := range o.Values {
		names := []string{l.File}
		if l.File != "" && l.Pattern {
			var err error
			if names, err = r.matching(l); err != nil {
				return nil, err
			}
			if len(names) == 0 && !o.IgnoreMissingFiles {
				return nil, render.Stall(reasonNoFile, "correct the pattern, or have missing files ignored", fmt.Errorf("%s: values file glob %q matched no files", l.As, cmp.Or(l.Written, l.File)))
			}
			names = slices.DeleteFunc(names, func(name string) bool { return outright[name] })
		}
		for _, name := range names {
			if name == "" {
				all = append(all, l)
				continue
			}
			if seen[name] {
				continue
			}
			seen[name] = true
			at, err := r.found(name, l.As)
			if isMissing(err) && o.IgnoreMissingFiles {
				continue
			}
			if err != nil {
				return nil, err
			}
			as := l.As
			if l.Pattern {
				as = name
			}
			all = append(all, Values{File: at, As: as})
		}
	}
	return all, nil
}

// found resolves the name of a file, which has to be there.
func (r *reader) found(name, as string) (string, error) {
	at, err := tree.Resolve(r.tree, name)
	if err != nil {
		return "", err
	}
	e, err := r.tree.Lookup(at)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f := render.Missing(err, reasonNoFile, "%s: the file %q", as, name)
		if f.Hint == "" { // nothing excludes it; the words are Helm's
			f.Hint, f.Err = "correct the path, or have missing files ignored", fmt.Errorf("%s: open %s: no such file or directory", as, name)
		}
		return "", f
	case err != nil:
		return "", err
	case e.Kind != tree.File:
		return "", render.Stall(render.BuildFailed, "name a file", fmt.Errorf("%s: %q is a %s, not a file", as, name, e.Kind))
	}
	return at, nil
}

// reasonNoFile is that of a file that is not there.
const reasonNoFile fault.Reason = "ValuesFileNotFound"

func isMissing(err error) bool { return err != nil && fault.Is(err, reasonNoFile) }

// matching returns the files that a pattern stands for: those of a directory by
// name, and then those of the directories below.
func (r *reader) matching(l Values) (names []string, err error) {
	if !doublestar.ValidatePattern(l.File) {
		return nil, render.Stall(fault.InvalidSpec, "", fmt.Errorf("%s: it is no pattern", l.As))
	}
	base, rest := doublestar.SplitPattern(l.File)
	deep := strings.Contains(rest, "**")
	levels := strings.Count(rest, "/")
	var walk func(at, dir string, level int) error
	walk = func(at, dir string, level int) error {
		entries, err := r.tree.ReadDir(at)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if r.steps += len(entries); r.steps > r.limits.steps {
			return tooLarge("%s: there are too many files to look through", l.As)
		}
		for _, e := range entries {
			if name := path.Join(dir, e.Name); e.Kind != tree.Dir && doublestar.MatchUnvalidated(l.File, name) {
				names = append(names, name)
			}
		}
		for _, e := range entries {
			if e.Kind == tree.Dir && (deep || level < levels) {
				if err := walk(path.Join(at, e.Name), path.Join(dir, e.Name), level+1); err != nil {
					return err
				}
			}
		}
		return nil
	}
	at, err := tree.Resolve(r.tree, base)
	if err != nil {
		return nil, err
	}
	return names, walk(at, base, 0)
}

// set sets parameters.
func (r *reader) set(values map[string]any, params []Parameter) error {
	steps := []struct {
		of  func(Parameter) bool
		set func(Parameter) error
	}{
		{func(p Parameter) bool { return p.File == "" && !p.Text }, func(p Parameter) error { return strvals.ParseInto(p.Name+"="+p.Value, values) }},
		{func(p Parameter) bool { return p.File == "" && p.Text }, func(p Parameter) error { return strvals.ParseIntoString(p.Name+"="+p.Value, values) }},
		{func(p Parameter) bool { return p.File != "" }, func(p Parameter) error {
			at, err := r.found(p.File, "the parameter "+p.Name)
			if err != nil {
				return err
			}
			b, err := r.content(at)
			if err != nil {
				return err
			}
			return strvals.ParseIntoFile(p.Name+"=-", values, func([]rune) (any, error) { return string(b), nil })
		}},
	}
	for _, step := range steps {
		for _, p := range params {
			if !step.of(p) {
				continue
			}
			err := step.set(p)
			if known := (*fault.Error)(nil); err == nil || errors.As(err, &known) {
				if err != nil {
					return err
				}
				continue
			}
			return render.Stall(fault.InvalidSpec, "names are as in helm --set: image.tag, hosts[0], a\\.b", render.Quote(fmt.Sprintf("the parameter %s: %v", p.Name, err)))
		}
	}
	return nil
}
