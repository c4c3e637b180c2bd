package text

import (
	"slices"
	"testing"
	"unsafe"
)

func TestGather(t *testing.T) {
	is := []string{"apps", "", "web", "apps", "web-0", "web"}
	want := slices.Clone(is)
	texts := make([]*string, len(is))
	for i := range is {
		texts[i] = &is[i]
	}
	Gather(texts)
	if !slices.Equal(is, want) {
		t.Errorf("they are %q, want %q", is, want)
	}
	if unsafe.StringData(is[0]) != unsafe.StringData(is[3]) || unsafe.StringData(is[2]) != unsafe.StringData(is[5]) {
		t.Error("what is equal is there twice")
	}
	Gather(nil)
}
