// Package report tells the outcome of what the engine did: conditions, events
// and metrics. It decides nothing; the words that a dialect's users rely on
// are the dialect's.
package report

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// What an operator alerts on. Labels kind, name and namespace are those of the
// custom resource.
var (
	duration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "gotk_reconcile_duration_seconds",
		Help:    "The duration in seconds of a reconciliation that did something.",
		Buckets: prometheus.ExponentialBuckets(0.005, 2, 16),
	}, unitLabels)
	failures = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "plumb_sync_failures_total",
		Help: "Runs of a unit that ended in an error, by reason.",
	}, append(unitLabels, "reason"))
	drift = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "plumb_drift_corrections_total",
		Help: "Objects that somebody else changed and that were put right.",
	}, unitLabels)
	latency = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "plumb_commit_to_live_seconds",
		Help:    "The time from seeing a revision at its source to having applied it.",
		Buckets: prometheus.ExponentialBuckets(0.05, 2, 16),
	}, []string{"kind", "namespace"}) // a histogram is many series, and this one is looked at as a whole
	success = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "plumb_last_success_timestamp_seconds",
		Help: "When a unit was last found or made as its source wants it, in Unix time.",
	}, unitLabels)
	ready = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "plumb_ready",
		Help: "Whether a custom resource is ready: 1 yes, 0 no, -1 not known yet.",
	}, unitLabels)

	unitLabels = []string{"kind", "name", "namespace"}
)

func init() {
	metrics.Registry.MustRegister(duration, failures, drift, latency, success, ready)
}

// A Subject is a custom resource, for metrics.
type Subject struct{ Kind, Name, Namespace string }

func (s Subject) labels() []string { return []string{s.Kind, s.Name, s.Namespace} }

// Took notes how long a reconciliation took that did something.
func (s Subject) Took(d time.Duration) {
	duration.WithLabelValues(s.labels()...).Observe(d.Seconds())
}

// Failed notes an error.
func (s Subject) Failed(reason string) {
	failures.WithLabelValues(append(s.labels(), reason)...).Inc()
}

// Corrected notes n corrections of drift.
func (s Subject) Corrected(n int) { drift.WithLabelValues(s.labels()...).Add(float64(n)) }

// Live notes that a revision, seen at its source d ago, has been applied.
func (s Subject) Live(d time.Duration) {
	latency.WithLabelValues(s.Kind, s.Namespace).Observe(d.Seconds())
}

// Succeeded notes that all is as it should be, now.
func (s Subject) Succeeded() { success.WithLabelValues(s.labels()...).SetToCurrentTime() }

// Ready notes a Ready condition: 1, 0 or -1.
func (s Subject) Ready(v float64) { ready.WithLabelValues(s.labels()...).Set(v) }

// Gone drops the series of a custom resource that is no more.
func (s Subject) Gone() {
	l := prometheus.Labels{"kind": s.Kind, "name": s.Name, "namespace": s.Namespace}
	for _, v := range []interface{ DeletePartialMatch(prometheus.Labels) int }{duration, failures, drift, success, ready} {
		v.DeletePartialMatch(l)
	}
}
