package argocd

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	api "plumb.dev/plumb/api/argocd"
)

// large is a status with so many objects, all of which were just applied.
func large(objects int) *api.ApplicationStatus {
	st := &api.ApplicationStatus{OperationState: &api.OperationState{SyncResult: &api.SyncResult{}}}
	for i := range objects {
		name := fmt.Sprintf("an-object-with-a-name-of-some-length-%06d", i)
		st.Resources = append(st.Resources, api.ResourceStatus{
			Group: "apps", Version: "v1", Kind: "Deployment", Namespace: "a-namespace-of-some-length", Name: name, Status: api.Synced,
			Health: &api.Health{Status: api.Progressing, Message: "Deployment generation is 2, but latest observed generation is 1"},
		})
		x := api.ResourceResult{
			Group: "apps", Version: "v1", Kind: "Deployment", Namespace: "a-namespace-of-some-length", Name: name, Status: api.ResultSynced,
			Message: "deployment.apps/" + name + " unchanged", HookPhase: api.PhaseRunning, SyncPhase: "Sync",
		}
		switch i % 10 {
		case 0:
			x.Status, x.Message = api.ResultSyncFailed, "no"
		case 1:
			x.Message = strings.Replace(x.Message, "unchanged", "configured", 1)
		}
		st.OperationState.SyncResult.Resources = append(st.OperationState.SyncResult.Resources, x)
	}
	return st
}

// What is too large leaves out what it can, in order, and says so; the objects
// stay, and so does what has failed.
func TestALargeStatusFits(t *testing.T) {
	for _, c := range []struct {
		objects          int
		without          string
		results, message bool
	}{
		{2000, "", true, true},
		{3000, "what the last operation has left unchanged is left out", true, true},
		{3850, "what the last operation has done is left out", false, true},
		{5000, "why objects are not healthy is left out", false, false},
	} {
		st := large(c.objects)
		before := st.OperationState
		without := fit(st, mostStatus)
		text, err := json.Marshal(st)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > mostStatus || !strings.HasSuffix(without, c.without) || (without == "") != (c.without == "") {
			t.Errorf("%d objects: %d bytes, %q", c.objects, len(text), without)
		}
		res := st.OperationState.SyncResult.Resources
		if len(st.Resources) != c.objects || res[0].Status != api.ResultSyncFailed || (len(res) > 1 && !isUnchanged(res[1]) && !failed(res[1])) != c.results ||
			(st.Resources[0].Health.Message != "") != c.message {
			t.Errorf("%d objects: %d of them, %d results, message %q", c.objects, len(st.Resources), len(res), st.Resources[0].Health.Message)
		}
		if len(before.SyncResult.Resources) != c.objects {
			t.Error("what others hold was changed")
		}
	}
}
