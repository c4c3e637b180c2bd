package git

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strings"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source/web"
	"plumb.dev/plumb/tree"
)

const (
	maxSubmoduleDepth = 8
	maxSubmodules     = 100 // in one repository
)

func badSubmodule(format string, args ...any) error {
	return failure(ReasonInvalidSubmodule, format, args...)
}

// mount puts the tree of each submodule at its path in the tree of snap. A
// submodule is fetched by the same rules as any repository; it gets the
// credentials of the one that holds it only if it is on the same scheme, host
// and port.
func (s *Store) mount(snap *Snapshot, r Remote, u *url.URL, depth int, get func(Remote, Head) (*Snapshot, error)) error {
	subs, err := modulesOf(snap.Tree)
	if err != nil {
		return err
	}
	repo := s.repo(r)
	var mounts []tree.Mount
	for _, sub := range subs {
		e, err := snap.Tree.Lookup(sub.path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && e.Kind != tree.Submodule {
			continue // left over from a submodule that was removed
		}
		if err != nil {
			return err
		}
		if depth >= maxSubmoduleDepth {
			return errTooLarge("submodules are more than %d deep", maxSubmoduleDepth)
		}
		from, err := r.submodule(u, sub.url)
		if err != nil {
			return fmt.Errorf("submodule %q: %w", sub.path, err)
		}
		hash := strings.TrimPrefix(string(e.ID), idScheme)
		if err := repo.noteSub(from.key(s.salt)); err != nil {
			return err
		}
		mounted, err := get(from, Head{Hash: hash, Revision: "sha1:" + hash})
		if err != nil {
			return fmt.Errorf("submodule %q: %w", sub.path, err)
		}
		mounts = append(mounts, tree.Mount{At: sub.path, Tree: mounted.Tree})
		snap.sets = append(snap.sets, mounted.sets...)
	}
	if len(mounts) > 0 {
		snap.Tree, err = tree.Overlay(snap.Tree, mounts)
	}
	return err
}

// modulesOf returns the submodules that a tree tells of.
func modulesOf(t tree.Tree) ([]module, error) {
	e, err := t.Lookup(".gitmodules")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if e.Kind != tree.File {
		return nil, badSubmodule(".gitmodules is a %s and not a file", e.Kind)
	}
	b, err := t.ReadFile(".gitmodules")
	if err != nil {
		return nil, err
	}
	subs, err := parseModules(string(b))
	if err == nil && len(subs) > maxSubmodules {
		err = errTooLarge("there are more than %d submodules", maxSubmodules)
	}
	return subs, err
}

// submodule returns the remote of a submodule with the given URL, which may be
// relative to r's.
func (r Remote) submodule(u *url.URL, raw string) (Remote, error) {
	if strings.HasPrefix(raw, "./") || strings.HasPrefix(raw, "../") {
		at := *u
		at.RawPath = ""
		at.Path = path.Join(strings.TrimSuffix(u.Path, "/"), raw)
		if strings.Count(path.Clean(raw), "../") >= strings.Count(strings.Trim(u.Path, "/"), "/")+2 {
			return Remote{}, badSubmodule("its URL leads out of the server")
		}
		raw = at.String()
	}
	sub := Remote{URL: raw, Proxy: r.Proxy, Timeout: r.Timeout}
	to, err := sub.parse()
	if err != nil {
		var f *fault.Error
		if errors.As(err, &f) {
			f.Next = fault.Retry // the next commit may mend it
		}
		return Remote{}, err
	}
	same := to.Scheme == u.Scheme && strings.EqualFold(to.Hostname(), u.Hostname()) && sshPort(to) == sshPort(u)
	if same {
		sub.Auth = r.Auth
		return sub, nil
	}
	// What is only about whom to trust is no secret.
	sub.Auth = Auth{KnownHosts: r.Auth.KnownHosts, CA: r.Auth.CA}
	return sub, nil
}

func sshPort(u *url.URL) string {
	if u.Scheme == "ssh" && u.Port() == "" {
		return "22"
	}
	return web.PortOf(u)
}

type module struct{ name, path, url string }

// parseModules parses .gitmodules, a file in the format of Git's
// configuration. Only path and url are looked at: the other keys tell a
// checkout what to do, up to running commands.
func parseModules(s string) ([]module, error) {
	var out []module
	at := -1
	for line := range strings.Lines(s) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
			continue
		case line[0] == '[':
			at = -1
			head, _, ok := strings.Cut(line[1:], "]")
			kind, name, quoted := strings.Cut(head, `"`)
			if !ok || !quoted || !strings.EqualFold(strings.TrimSpace(kind), "submodule") {
				continue
			}
			name = unquote(strings.TrimSuffix(name, `"`))
			if unsafeModule(name) {
				return nil, badSubmodule("the name %q is not allowed", web.OneLine(name, 200))
			}
			if at = slices.IndexFunc(out, func(m module) bool { return m.name == name }); at < 0 {
				at = len(out)
				out = append(out, module{name: name})
			}
		case at >= 0:
			key, value, _ := strings.Cut(line, "=")
			value = configValue(value)
			switch strings.ToLower(strings.TrimSpace(key)) {
			case "path":
				value = strings.TrimSuffix(value, "/")
				if unsafeModule(value) || !fs.ValidPath(value) || value == "." || strings.HasPrefix(value, "-") {
					return nil, badSubmodule("the path %q is not allowed", web.OneLine(value, 200))
				}
				out[at].path = value
			case "url":
				out[at].url = value
			}
		}
	}
	return slices.DeleteFunc(out, func(m module) bool { return m.path == "" || m.url == "" }), nil
}

// unsafeModule reports whether a name or path leads elsewhere.
func unsafeModule(name string) bool {
	if name == "" || strings.ContainsRune(name, 0) || strings.HasPrefix(name, "/") {
		return true
	}
	for part := range strings.FieldsFuncSeq(name, func(c rune) bool { return c == '/' || c == '\\' }) {
		if part == ".." || isDotGit(part) {
			return true
		}
	}
	return false
}

func configValue(s string) string {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, `"`) {
		if end := strings.LastIndexByte(s, '"'); end > 0 {
			return unquote(s[1:end])
		}
	}
	for _, comment := range []string{" #", " ;", "\t#", "\t;"} {
		s, _, _ = strings.Cut(s, comment)
	}
	return unquote(strings.TrimSpace(s))
}

func unquote(s string) string {
	return strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(s)
}
