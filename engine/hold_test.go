package engine

import (
	"errors"
	"fmt"
	"testing"

	"plumb.dev/plumb/fault"
)

func TestWhatChangedHandsIsNotHeld(t *testing.T) {
	others := &fault.Error{Reason: "OwnedByOther", Err: errors.New("theirs")}
	refused := errors.New("refused")
	for name, c := range map[string]struct{ err, want error }{
		"nothing":                {nil, nil},
		"only what is another's": {errors.Join(others, fmt.Errorf("x: %w", others)), nil},
		"both":                   {errors.Join(errors.Join(others, refused), nil), refused},
		"what was refused":       {refused, refused},
	} {
		got := stillOurs(c.err)
		if (got == nil) != (c.want == nil) || !errors.Is(got, c.want) || errors.Is(got, others) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
