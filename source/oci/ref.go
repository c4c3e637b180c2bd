package oci

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/Masterminds/semver/v3"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source/web"
)

// The reasons of this package's faults, beside those of source/web and
// source/archive.
const (
	ReasonInvalidReference  = "InvalidReference"  // a tag or digest that can be none; a Stall
	ReasonInvalidSemver     = "InvalidSemver"     // a range that can't be parsed; a Stall
	ReasonReferenceNotFound = "ReferenceNotFound" // a tag that is gone, no version in the range
	ReasonInvalidArtifact   = "InvalidArtifact"   // a manifest without the layer that is wanted
)

// A Ref says which artifact is wanted: of Digest, SemVer, Tag and Short the first
// that is set. An empty Ref is the tag latest, and of a chart its highest
// version.
type Ref struct {
	Digest string // sha256:…
	// SemVer is a range such as ">=1.0.0 <2.0.0", of which the highest version
	// counts. Of a chart it may be a version, which is then not looked for.
	SemVer       string
	SemverFilter string // a regular expression; only tags that it matches are versions
	Tag          string
	Short        string // a digest, a tag or, if there is no such tag, a range
}

// Validate reports why no registry can have r, as a fault with reason
// InvalidReference or InvalidSemver.
func (r Ref) Validate() error {
	_, err := r.plan(First)
	return err
}

// A wanted is what a Ref looks for.
type wanted struct {
	name     string // a tag or digest; empty: the highest version
	versions *semver.Constraints
	filter   *regexp.Regexp
	plus     bool   // a _ in a tag stands for the + of a version
	chart    bool   // it is called by its version
	text     string // how people wrote it
}

var (
	tagForm    = regexp.MustCompile(`^\w[\w.-]{0,127}$`)
	digestForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

func (r Ref) plan(kind Kind) (wanted, error) {
	w := wanted{chart: kind == Chart, plus: kind == Chart}
	switch {
	case r.Digest != "":
		return r.digest(w, r.Digest)
	case r.SemVer != "", w.chart && r.Tag == "" && r.Short == "":
		text := r.SemVer
		if text == "" {
			text = "*"
		}
		if _, ok := parseVersion(text); ok && w.chart {
			w.name, w.text = tagOf(text), text
			return w, tagged(w.name, text)
		}
		return r.ranged(w, text)
	case r.Tag != "":
		w.name, w.text = r.Tag, r.Tag
		return w, tagged(r.Tag, r.Tag)
	case strings.Contains(r.Short, ":"):
		return r.digest(w, r.Short)
	case r.Short != "":
		return r.short(w)
	}
	w.name, w.text = "latest", "latest"
	return w, nil
}

func (r Ref) digest(w wanted, d string) (wanted, error) {
	if !digestForm.MatchString(d) {
		return w, invalidReference("digest %q is not sha256: and 64 hexadecimal digits", web.OneLine(d, 100))
	}
	w.name, w.text = d, d
	return w, nil
}

func (r Ref) short(w wanted) (wanted, error) {
	w.text = r.Short
	if tagged(tagOf(r.Short), r.Short) != nil {
		return r.ranged(w, r.Short)
	}
	if in, err := semver.NewConstraint(r.Short); err == nil {
		w.versions, w.plus = in, true
	}
	w.name = tagOf(r.Short)
	return w, nil
}

func (r Ref) ranged(w wanted, text string) (wanted, error) {
	var err error
	w.text = text
	if w.versions, err = semver.NewConstraint(text); err != nil {
		return w, &fault.Error{
			Next: fault.Stall, Reason: ReasonInvalidSemver, Err: fmt.Errorf("semver range %q cannot be parsed", web.OneLine(text, 200)),
			Hint: `write one such as ">=1.2.0 <2.0.0" or "1.x"`,
		}
	}
	if r.SemverFilter != "" {
		if w.filter, err = regexp.Compile(r.SemverFilter); err != nil {
			return w, invalidReference("semver filter %q is no regular expression", web.OneLine(r.SemverFilter, 200))
		}
	}
	return w, nil
}

func tagged(tag, text string) error {
	if !tagForm.MatchString(tag) {
		return invalidReference("tag %q is not a valid one", web.OneLine(text, 200))
	}
	return nil
}

func invalidReference(format string, args ...any) *fault.Error {
	return &fault.Error{Next: fault.Stall, Reason: ReasonInvalidReference, Err: fmt.Errorf(format, args...)}
}

// parseVersion returns the version that a tag is called, as Flux reads it: of
// three parts, with or without a v before it. A year or a lone number is none.
func parseVersion(tag string) (*semver.Version, bool) {
	if strings.Count(tag, ".") < 2 {
		return nil, false
	}
	v, err := semver.NewVersion(tag)
	return v, err == nil
}

// A tag can't have a + in it. Where Helm has versions for tags, a _ stands for
// it.
func tagOf(version string) string { return strings.ReplaceAll(version, "+", "_") }

func versionOf(tag string) string { return strings.ReplaceAll(tag, "_", "+") }

// A highest is the tag of the highest version so far.
type highest struct {
	wanted
	tag     string
	version *semver.Version
}

// see looks at one more tag. Of those of one version, which differ in their
// build or in the v before one, the last by name is taken.
func (h *highest) see(tag string) {
	if !tagForm.MatchString(tag) || h.filter != nil && !h.filter.MatchString(tag) {
		return
	}
	text := tag
	if h.plus {
		text = versionOf(tag)
	}
	v, ok := parseVersion(text)
	if !ok || !h.versions.Check(v) {
		return
	}
	if h.version == nil || v.GreaterThan(h.version) || v.Equal(h.version) && tag > h.tag {
		h.tag, h.version = tag, v
	}
}

// digestIn returns the digest in the name of a revision, if there is one.
func digestIn(name string) string {
	if _, d, ok := strings.Cut(name, "@"); ok {
		name = d
	}
	if digestForm.MatchString(name) {
		return name
	}
	return ""
}
