package kustomize

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"plumb.dev/plumb/fault"
)

// fetched notes what has to be fetched. Where nothing may be, all of it is
// refused once all of it is known.
func (v *surveyor) fetched(k *kustomization, entry string) error {
	if v.o.AllowRemoteBases {
		v.src.fetches()
		return nil
	}
	v.remote = append(v.remote, fmt.Sprintf("%s: %q", k.at(entry), withoutCredentials(entry)))
	return nil
}

// local refuses what has to be fetched.
func (v *surveyor) local() error {
	if len(v.remote) == 0 {
		return nil
	}
	slices.Sort(v.remote)
	places := slices.Compact(v.remote)
	what := "is not in this source"
	if len(places) > 1 {
		what = "are not in this source"
	}
	more := ""
	if n := len(places) - maxPlaces; n > 0 {
		places, more = places[:maxPlaces], fmt.Sprintf(", and %d more", n)
	}
	return &fault.Error{
		Next: fault.Stall, Reason: "RemoteBaseDisabled",
		Hint: "copy it into the repository, or let plumb fetch it with --no-remote-bases=false",
		Err:  fmt.Errorf("%s%s %s", strings.Join(places, ", "), more, what),
	}
}

// maxPlaces is how many places one message names.
const maxPlaces = 20

var userinfo = regexp.MustCompile(`//[^/@\s]*@`)

// withoutCredentials takes user, password and query out of a URL.
func withoutCredentials(u string) string {
	u, _, _ = strings.Cut(u, "?")
	return userinfo.ReplaceAllString(u, "//")
}

// isURL reports whether Kustomize would open p over HTTP.
func isURL(p string) bool {
	u, err := url.Parse(p)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https")
}

var scpLike = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9-]*@`)

// remote reports whether Kustomize might take p for a URL, of a file or of a
// Git repository.
func remote(p string) bool {
	low := strings.ToLower(p)
	for _, prefix := range []string{"git::", "gh:", "ssh://", "https://", "http://", "file://", "github.com/", "github.com:"} {
		if strings.HasPrefix(low, prefix) {
			return true
		}
	}
	return isURL(p) || scpLike.MatchString(p)
}
