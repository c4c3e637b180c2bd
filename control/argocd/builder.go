package argocd

import (
	"encoding/json"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/detect"
)

// skipMarker is a text that keeps a file from being read as a manifest.
const skipMarker = "+argocd:skip-file-rendering"

// builder makes objects of a source of a, where others are called refs. Its own
// files may add to what the Application says of it. disabled are tools that may not
// be used.
func (o *Options) builder(a *application, s api.Source, refs, disabled []string) (render.Builder, error) {
	b := detect.Options{
		Release: detect.Release{Name: a.Name, Namespace: a.Spec.Destination.Namespace}, Refs: refs, Disabled: disabled,
		Overrides:  []string{".argocd-source.yaml", ".argocd-source-" + o.trackingName(a.key()) + ".yaml"},
		SkipMarker: skipMarker,
		Env: detect.Env{
			Vars: map[string]string{
				"ARGOCD_APP_NAME": a.Name, "ARGOCD_APP_NAMESPACE": a.Spec.Destination.Namespace, "ARGOCD_APP_PROJECT_NAME": a.project(),
				"ARGOCD_APP_SOURCE_PATH": s.Path, "ARGOCD_APP_SOURCE_REPO_URL": s.RepoURL, "ARGOCD_APP_SOURCE_TARGET_REVISION": s.TargetRevision,
			},
			Revision: map[string]int{"ARGOCD_APP_REVISION": 0, "ARGOCD_APP_REVISION_SHORT": 7, "ARGOCD_APP_REVISION_SHORT_8": 8},
		},
	}
	sections, err := json.Marshal(struct {
		Directory *api.SourceDirectory `json:"directory,omitempty"`
		Kustomize *api.SourceKustomize `json:"kustomize,omitempty"`
		Helm      *api.SourceHelm      `json:"helm,omitempty"`
	}{s.Directory, s.Kustomize, s.Helm})
	if err == nil {
		err = json.Unmarshal(sections, &b.Sections)
	}
	if err != nil {
		return nil, invalid("it can't be read: %w", err)
	}
	return b, nil
}
