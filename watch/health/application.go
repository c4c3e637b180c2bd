package health

import (
	"fmt"
	"reflect"
)

// An applicationShape has those fields of an Application of Argo CD by which it
// can be told whether its health is that of what it asks for now.
type applicationShape struct {
	Operation any `json:"operation"`
	Spec      struct {
		Source     map[string]any `json:"source"`
		Sources    []any          `json:"sources"`
		SyncPolicy struct {
			Automated *struct {
				Enabled *bool `json:"enabled"`
			} `json:"automated"`
		} `json:"syncPolicy"`
	} `json:"spec"`
	Status struct {
		Sync struct {
			Status     string `json:"status"`
			ComparedTo struct {
				Source  map[string]any `json:"source"`
				Sources []any          `json:"sources"`
			} `json:"comparedTo"`
		} `json:"sync"`
		Health struct {
			Status  string `json:"status"`
			Message string `json:"message"`
		} `json:"health"`
		Operation struct {
			Phase   string `json:"phase"`
			Message string `json:"message"`
		} `json:"operationState"`
		Resources []struct {
			Status string `json:"status"`
			Health struct {
				Status string `json:"status"`
			} `json:"health"`
		} `json:"resources"`
	} `json:"status"`
}

// health is what the Application says, unless that is about another spec, or
// about less than all of its objects: whoever waits for it waits for what it asks
// for.
func (o applicationShape) health() Result {
	st := o.Status
	missing := 0
	for _, r := range st.Resources {
		if r.Status == "OutOfSync" && r.Health.Status == "Missing" {
			missing++
		}
	}
	auto := o.Spec.SyncPolicy.Automated
	switch {
	case o.Operation != nil:
		return progressing("an operation is under way")
	case st.Health.Status == "":
		return progressing("it has not been looked at yet")
	case o.changed():
		return progressing("its sources have changed, and it has not been looked at since")
	case missing > 0 && auto != nil && (auto.Enabled == nil || *auto.Enabled):
		if p := st.Operation.Phase; p == "Failed" || p == "Error" {
			return Result{Status: Failed, Message: st.Operation.Message}
		}
		return progressing("%d of its objects are not there yet", missing)
	}
	r := Result{Message: st.Health.Message}
	switch st.Health.Status {
	case "Healthy", "Missing": // nobody has synced it, and it does not sync itself
	case "Suspended":
		r.Status = Suspended
	case "Progressing":
		r.Status = InProgress
	case "Degraded":
		r.Status = Failed
	default:
		r.Status = Unknown
		if st.Health.Status != "Unknown" {
			r.Message = fmt.Sprintf("it says %q", st.Health.Status)
		}
	}
	return r
}

// changed reports whether the sources are others than those that the status is
// about. Of another controller's status that may not be known.
func (o applicationShape) changed() bool {
	was := o.Status.Sync.ComparedTo
	if was.Source == nil && was.Sources == nil || o.Spec.Source == nil && o.Spec.Sources == nil {
		return false
	}
	return !reflect.DeepEqual(said(o.Spec.Sources), said(was.Sources)) || o.Spec.Sources == nil && !reflect.DeepEqual(said(o.Spec.Source), said(was.Source))
}

// said is a value less what says nothing: a status has left that out.
func said(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, inner := range v {
			if inner = said(inner); inner != nil {
				out[key] = inner
			}
		}
		if len(out) > 0 {
			return out
		}
	case []any:
		var out []any
		for _, inner := range v {
			out = append(out, said(inner))
		}
		if len(out) > 0 {
			return out
		}
	case string, bool, int64, float64:
		if !reflect.ValueOf(v).IsZero() {
			return v
		}
	}
	return nil
}
