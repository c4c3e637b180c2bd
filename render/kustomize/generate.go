package kustomize

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"

	"plumb.dev/plumb/tree"
)

// generate makes the kustomization of a directory that has none: every YAML
// file in it and below, and for a directory below that has a kustomization,
// that one instead.
func generate(s *source, dir string) (*kustomization, error) {
	k := &kustomization{dir: dir, file: path.Join(dir, konfig.DefaultKustomizationFileName())}
	steps := 0
	var walk func(at string) error
	walk = func(at string) error {
		if err := s.ctx.Err(); err != nil {
			return s.fail(context.Cause(s.ctx))
		}
		entries, err := s.tree.ReadDir(at)
		if err != nil {
			return s.fail(err)
		}
		for _, e := range entries {
			name := path.Join(at, e.Name)
			rel := "./" + strings.TrimPrefix(strings.TrimPrefix(name, dir), "/")
			if dir == "." {
				rel = "./" + name
			}
			if steps++; e.Kind == tree.Dir {
				// Each name that it may have is looked for from the root on.
				steps += 3 * (1 + strings.Count(name, "/"))
			}
			if steps > s.limits.steps {
				return tooLarge("%s holds too many directories to look for manifests in: add a kustomization.yaml that names them", dir)
			}
			switch ext := path.Ext(e.Name); {
			case e.Kind == tree.Dir:
				has, err := s.hasKustomization(name)
				if err != nil {
					return err
				}
				if has {
					k.Resources = append(k.Resources, rel)
				} else if err := walk(name); err != nil {
					return err
				}
			case e.Kind == tree.Submodule:
			case ext == ".yaml" || ext == ".yml":
				k.Resources = append(k.Resources, rel)
			}
		}
		return nil
	}
	if err := walk(dir); err != nil {
		return nil, err
	}
	if len(k.Resources) == 0 {
		s.warn("%s holds no YAML file", dir)
	}
	return k, nil
}

func (s *source) hasKustomization(dir string) (bool, error) {
	for _, base := range konfig.RecognizedKustomizationFileNames() {
		e, err := tree.Stat(s.tree, path.Join(dir, base))
		if err == nil && e.Kind != tree.Dir {
			return true, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, s.fail(err)
		}
	}
	return false, nil
}
