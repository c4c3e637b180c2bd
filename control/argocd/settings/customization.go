package settings

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A Customization is what argocd-cm says of objects of a kind.
type Customization struct {
	// Group and Kind are globs. The most specific customization of a thing
	// counts for health; of what is ignored, all do.
	Group, Kind string
	// Health is a Lua script that returns an object's health; empty: none.
	Health string
	// UseOpenLibs gives the script Lua's libraries.
	UseOpenLibs bool
	// IgnoreDifferences are fields that don't count when objects are compared.
	IgnoreDifferences Ignored
	// KnownTypeFields say that a field holds a type of Kubernetes' own.
	KnownTypeFields []KnownTypeField
}

// Ignored are fields, by JSON pointer, by jq expression, and by who manages
// them.
type Ignored struct {
	JSONPointers          []string `json:"jsonPointers,omitempty"`
	JQPathExpressions     []string `json:"jqPathExpressions,omitempty"`
	ManagedFieldsManagers []string `json:"managedFieldsManagers,omitempty"`
}

// A KnownTypeField is a field of a custom resource and the type it holds, such
// as core/v1/PodSpec.
type KnownTypeField struct {
	Field string `json:"field"`
	Type  string `json:"type"`
}

// CompareOptions are Argo CD's resource.compareoptions.
type CompareOptions struct {
	IgnoreAggregatedRoles bool `json:"ignoreAggregatedRoles,omitempty"`
	// IgnoreResourceStatusField is crd, all or none; empty: all.
	IgnoreResourceStatusField          Word `json:"ignoreResourceStatusField,omitempty"`
	IgnoreDifferencesOnResourceUpdates bool `json:"ignoreDifferencesOnResourceUpdates,omitempty"`
}

// A Word is a string that YAML may take for a truth value, such as off.
type Word string

// UnmarshalJSON takes a string or a truth value.
func (w *Word) UnmarshalJSON(b []byte) error {
	s := string(b)
	if unquoted, err := strconv.Unquote(s); err == nil {
		s = unquoted
	}
	switch s {
	case "", "all", "crd", "none":
		*w = Word(s)
	case "off", "false":
		*w = "none"
	default:
		return fmt.Errorf("%q is none of crd, all and none", s)
	}
	return nil
}

// A writtenCustomization is an entry of the key resource.customizations, which
// was there before the others. Texts in it are YAML of their own.
type writtenCustomization struct {
	Health                string           `json:"health.lua"`
	UseOpenLibs           bool             `json:"health.lua.useOpenLibs"`
	Actions               string           `json:"actions"` // the API server's
	IgnoreDifferences     string           `json:"ignoreDifferences"`
	IgnoreResourceUpdates string           `json:"ignoreResourceUpdates"` // nothing that plumb has
	KnownTypeFields       []KnownTypeField `json:"knownTypeFields"`
}

const customizations = "resource.customizations"

// readCustomization reads a key that is about customizations, and reports
// whether it is one.
func (s *Settings) readCustomization(name, value string) bool {
	if name == customizations {
		s.readCustomizations(value)
		return true
	}
	rest, ok := strings.CutPrefix(name, customizations+".")
	what, groupKind, named := strings.Cut(rest, ".")
	if !ok || !named {
		return false
	}
	where := fmt.Sprintf("ConfigMap %s: key %s", mainMap, name)
	var set func(c *Customization) error
	switch what {
	case "health":
		set = func(c *Customization) error { c.Health = value; return nil }
	case "useOpenLibs":
		set = func(c *Customization) (err error) {
			c.UseOpenLibs, err = strconv.ParseBool(strings.TrimSpace(value))
			return noBool(value, err)
		}
	case "ignoreDifferences":
		set = func(c *Customization) error {
			c.IgnoreDifferences = Ignored{}
			return s.unmarshal(where, value, &c.IgnoreDifferences)
		}
	case "knownTypeFields":
		set = func(c *Customization) error {
			c.KnownTypeFields = nil
			return s.unmarshal(where, value, &c.KnownTypeFields)
		}
	default:
		return false
	}
	if strings.HasSuffix(groupKind, "_") && strings.Count(groupKind, "_") == 1 {
		s.problem(where, noKind)
		return true
	}
	group, kind, err := splitGroupKind(groupKind)
	if err == nil {
		err = set(s.customization(group, kind))
	}
	s.customized(where, what, err)
	return true
}

// customized notes that a customization can't be read. Of what is to be ignored,
// that means that nothing may be put right that should be left alone.
func (s *Settings) customized(where, what string, err error) {
	switch {
	case err != nil && what == "ignoreDifferences":
		s.refuse(where, err)
	case err != nil:
		s.problem(where, "%w", err)
	}
}

// noKind is said of a customization that is about nothing.
const noKind = "it names no kind, so it is about none"

// splitGroupKind reads GROUP_KIND, KIND of the core group, or all.
func splitGroupKind(s string) (group, kind string, err error) {
	if s == "all" {
		return "*", "*", nil
	}
	parts := strings.Split(s, "_")
	switch {
	case len(parts) == 2 && parts[1] != "":
		return parts[0], parts[1], nil
	case len(parts) == 1 && s != "":
		return "", s, nil
	}
	return "", "", fmt.Errorf("%q is neither GROUP_KIND nor KIND", s)
}

// customization returns the entry for a kind, a new one if need be.
func (s *Settings) customization(group, kind string) *Customization {
	for i := range s.Customizations {
		if c := &s.Customizations[i]; c.Group == group && c.Kind == kind {
			return c
		}
	}
	s.Customizations = append(s.Customizations, Customization{Group: group, Kind: kind})
	return &s.Customizations[len(s.Customizations)-1]
}

// readCustomizations reads the key that has them all. It comes before the others,
// which replace what it says.
func (s *Settings) readCustomizations(value string) {
	where := fmt.Sprintf("ConfigMap %s: key %s", mainMap, customizations)
	var all map[string]writtenCustomization
	if err := s.unmarshal(where, value, &all); err != nil {
		s.refuse(where, err)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		w := all[name]
		group, kind, ok := strings.Cut(name, "/")
		if !ok {
			group, kind = "", name
		}
		if kind == "" {
			s.problem(where, "%q: "+noKind, name)
			continue
		}
		c := s.customization(group, kind)
		c.Health, c.UseOpenLibs, c.KnownTypeFields = w.Health, w.UseOpenLibs, w.KnownTypeFields
		at := fmt.Sprintf("%s: %s: ignoreDifferences", where, name)
		s.customized(at, "ignoreDifferences", s.unmarshal(at, w.IgnoreDifferences, &c.IgnoreDifferences))
	}
}

// sortCustomizations puts the most specific first.
func (s *Settings) sortCustomizations() {
	stars := func(c Customization) int { return strings.Count(c.Group, "*") + strings.Count(c.Kind, "*") }
	slices.SortFunc(s.Customizations, func(a, b Customization) int {
		return cmp.Or(cmp.Compare(stars(a), stars(b)), cmp.Compare(a.Group, b.Group), cmp.Compare(a.Kind, b.Kind))
	})
}
