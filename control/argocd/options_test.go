package argocd

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestSyncOptions(t *testing.T) {
	for name, c := range map[string]struct {
		list []string
		want options
	}{
		"none":          {nil, options{propagation: metav1.DeletePropagationForeground}},
		"propagation":   {[]string{"PrunePropagationPolicy=orphan"}, options{propagation: metav1.DeletePropagationOrphan}},
		"confirmations": {[]string{"Prune=confirm", "Delete=confirm"}, options{asks: true, asksToGo: true, propagation: metav1.DeletePropagationForeground}},
		"kept":          {[]string{"Prune=false", "Delete=false"}, options{keep: true, stay: true, propagation: metav1.DeletePropagationForeground}},
		"the last one":  {[]string{"Replace=true", " Replace=false", "Force=true"}, options{force: true, propagation: metav1.DeletePropagationForeground}},
	} {
		got, err := parseOptions("x", c.list)
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(options{})); err != nil || diff != "" {
			t.Errorf("%s: %v, -want +got\n%s", name, err, diff)
		}
	}
}

func TestAConfirmationIsOfALaterTime(t *testing.T) {
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]bool{
		"": false, "true": false, "2026-01-02T03:04:04Z": false, "2026-01-02T03:04:05Z": true, "2026-01-02T05:04:05+01:00": true,
	} {
		a := &application{}
		a.Annotations = map[string]string{deletionApproved: text}
		if a.confirmed(since) != want {
			t.Errorf("%q: %t", text, !want)
		}
	}
}
