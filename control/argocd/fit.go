package argocd

import (
	"encoding/json"
	"fmt"

	api "plumb.dev/plumb/api/argocd"
)

// mostStatus is how many bytes of a status are written: an API server takes
// objects of 1.5 MB, and there is more in one than the status.
const mostStatus = 1_200_000

// fit leaves out of a status what it can do without, as far as it is too large,
// and returns what that was. The objects themselves stay: they are the inventory.
func fit(st *api.ApplicationStatus, most int) (without string) {
	size := func() int {
		text, err := json.Marshal(st)
		if err != nil {
			panic(err) // it is made of text and numbers
		}
		return len(text)
	}
	is := size()
	if is <= most {
		return ""
	}
	for _, part := range []struct {
		what string
		drop func(*api.ApplicationStatus)
	}{
		{"what the last operation has left unchanged", func(st *api.ApplicationStatus) {
			dropResults(st, func(x api.ResourceResult) bool { return !isUnchanged(x) })
		}},
		{"what the last operation has done", func(st *api.ApplicationStatus) { dropResults(st, failed) }},
		{"why objects are not healthy", dropMessages},
	} {
		part.drop(st)
		without = fmt.Sprintf("the status would be of %d bytes, which is more than an API server takes; %s is left out", is, part.what)
		if size() <= most {
			break
		}
	}
	return without
}

func failed(x api.ResourceResult) bool { return x.Status == api.ResultSyncFailed }

func dropResults(st *api.ApplicationStatus, keep func(api.ResourceResult) bool) {
	if st.OperationState == nil || st.OperationState.SyncResult == nil {
		return
	}
	s, res := *st.OperationState, *st.OperationState.SyncResult
	res.Resources = nil
	for _, x := range st.OperationState.SyncResult.Resources {
		if keep(x) || failed(x) {
			res.Resources = append(res.Resources, x)
		}
	}
	s.SyncResult, st.OperationState = &res, &s
}

func dropMessages(st *api.ApplicationStatus) {
	all := make([]api.ResourceStatus, len(st.Resources))
	for i, r := range st.Resources {
		if r.Health != nil && r.Health.Message != "" {
			h := *r.Health
			h.Message = ""
			r.Health = &h
		}
		all[i] = r
	}
	st.Resources = all
}
