package project

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/api/argocd"
)

func at(t *testing.T, s string) time.Time {
	t.Helper()
	for _, layout := range []string{"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04Z07:00"} {
		if v, err := time.Parse(layout, s); err == nil {
			return v
		}
	}
	t.Fatalf("%s is no time", s)
	return time.Time{}
}

// windows are those of YAML, all of them about one Application.
func windows(t *testing.T, list string) Windows {
	t.Helper()
	var all []argocd.SyncWindow
	if err := yaml.UnmarshalStrict([]byte(list), &all); err != nil {
		t.Fatalf("%v\n%s", err, list)
	}
	for i := range all {
		if all[i].Applications == nil {
			all[i].Applications = []string{"*"}
		}
	}
	p := &argocd.AppProject{Spec: argocd.AppProjectSpec{SyncWindows: all}}
	p.Name = "shop"
	return New(p, Scope{}).Windows(Application{Name: "web"})
}

func TestWindows(t *testing.T) {
	const (
		allow  = "{kind: allow, schedule: '0 8 * * *', duration: 2h}"
		manual = "{kind: allow, schedule: '0 8 * * *', duration: 2h, manualSync: true}"
		deny   = "{kind: deny, schedule: '0 9 * * *', duration: 2h}"
		people = "{kind: deny, schedule: '0 9 * * *', duration: 2h, manualSync: true}"
		other  = "{kind: deny, schedule: '30 9 * * *', duration: 3h}"
	)
	for _, c := range []struct {
		about, windows, at string
		auto, manual       bool
		until, why         string
	}{
		{"no window at all", "", "2026-03-04T10:00Z", true, true, "", ""},
		{"a window that allows, open", allow, "2026-03-04T08:00Z", true, true, "2026-03-04T10:00Z", ""},
		{"its last moment", allow, "2026-03-04T09:59:59Z", true, true, "2026-03-04T10:00Z", ""},
		{"and closed", allow, "2026-03-04T10:00Z", false, false, "2026-03-05T08:00Z", `blocked by sync window: spec.syncWindows[0] "allow 0 8 * * * 2h" of project 'shop' is closed; it opens at 2026-03-05T08:00:00Z`},
		{"a person may", manual, "2026-03-04T10:00Z", false, true, "2026-03-05T08:00Z", "is closed"},
		{"one of two that allow", allow + "," + strings.Replace(allow, "0 8", "0 20", 1), "2026-03-04T10:00Z", false, false, "2026-03-04T20:00Z", "are closed; it opens at 2026-03-04T20:00:00Z"},
		{"people only if all say so", manual + "," + allow, "2026-03-04T10:00Z", false, false, "2026-03-05T08:00Z", ""},
		{"a window that denies, before", deny, "2026-03-04T08:59Z", true, true, "2026-03-04T09:00Z", ""},
		{"and open", deny, "2026-03-04T09:00Z", false, false, "2026-03-04T11:00Z", "is open; it opens at 2026-03-04T11:00:00Z"},
		{"with what it is for", "{kind: deny, schedule: '0 9 * * *', duration: 2h, description: \"freeze:\\n TICKET-1\"}", "2026-03-04T09:00Z", false, false, "2026-03-04T11:00Z", `"deny 0 9 * * * 2h" (freeze: TICKET-1) of project 'shop' is open`},
		{"a person may", people, "2026-03-04T09:00Z", false, true, "2026-03-04T11:00Z", "is open"},
		{"denying wins", allow + "," + deny, "2026-03-04T09:30Z", false, false, "2026-03-04T11:00Z", "deny 0 9"},
		{"two that deny and overlap", deny + "," + other, "2026-03-04T09:10Z", false, false, "2026-03-04T09:30Z", "it opens at 2026-03-04T12:30:00Z"},
		{"when one is over the other still denies", deny + "," + other, "2026-03-04T11:00Z", false, false, "2026-03-04T12:30Z", ""},
		{"people if all that are open say so", people + "," + other, "2026-03-04T09:10Z", false, true, "2026-03-04T09:30Z", ""},
		{"and not once one does not", people + "," + other, "2026-03-04T09:30Z", false, false, "2026-03-04T11:00Z", "are open"},
		{"over midnight", "{kind: allow, schedule: '0 22 * * *', duration: 4h}", "2026-03-04T01:00Z", true, true, "2026-03-04T02:00Z", ""},
		{"in a zone", "{kind: allow, schedule: '0 8 * * *', duration: 2h, timeZone: Europe/Berlin}", "2026-03-04T07:00Z", true, true, "2026-03-04T09:00Z", ""},
		{"in the same zone in summer", "{kind: allow, schedule: '0 8 * * *', duration: 2h, timeZone: Europe/Berlin}", "2026-07-04T06:00Z", true, true, "2026-07-04T08:00Z", ""},
		{"on a day of the week", "{kind: deny, schedule: '0 0 * * 6', duration: 48h}", "2026-03-06T12:00Z", true, true, "2026-03-07T00:00Z", ""},
		{"on a day of the week or of the month", "{kind: deny, schedule: '0 0 13 * 5', duration: 24h}", "2026-03-06T12:00Z", false, false, "2026-03-07T00:00Z", ""},
		{"in a leap year", "{kind: allow, schedule: '0 0 29 2 *', duration: 1h}", "2026-03-04T00:00Z", false, false, "2028-02-29T00:00Z", "it opens at 2028-02-29"},
		{"after a year that is none", "{kind: allow, schedule: '0 0 29 2 *', duration: 1h}", "2096-03-04T00:00Z", false, false, "2104-02-29T00:00Z", ""},
		{"openings that overlap", "{kind: allow, schedule: '0 8,9 * * *', duration: 90m}", "2026-03-04T08:10Z", true, true, "2026-03-04T10:30Z", ""},
		{"a minute that is left out counts as the moment after", "{kind: deny, schedule: '30 2 * * *', duration: 1h, timeZone: Europe/Berlin}", "2026-03-29T00:59Z", true, true, "2026-03-29T01:00Z", ""},
		{"and is over in its time", "{kind: deny, schedule: '30 2 * * *', duration: 1h, timeZone: Europe/Berlin}", "2026-03-29T01:30Z", false, false, "2026-03-29T02:00Z", ""},
		{"one that comes twice counts twice", "{kind: deny, schedule: '30 2 * * *', duration: 30m, timeZone: Europe/Berlin}", "2026-10-25T01:00Z", true, true, "2026-10-25T01:30Z", ""},
	} {
		t.Run(c.about, func(t *testing.T) {
			w := windows(t, "["+c.windows+"]")
			now := at(t, c.at)
			o := w.At(now)
			if o.Err != nil || o.Auto != c.auto || o.Manual != c.manual || !strings.Contains(o.Why, c.why) || o.Auto != (o.Why == "") {
				t.Errorf("%+v", o)
			}
			until := time.Time{}
			if c.until != "" {
				until = at(t, c.until)
			}
			if !o.Until.Equal(until) {
				t.Errorf("until %s, want %s", o.Until, until)
			}
		})
	}
}

func TestWindowsThatCantBeReadAllowNothing(t *testing.T) {
	for window, words := range map[string]string{
		"{kind: block, schedule: '* * * * *', duration: 1h}":                                          `kind "block" is neither allow nor deny`,
		"{schedule: '* * * * *', duration: 1h}":                                                       `kind "" is neither allow nor deny`,
		"{kind: allow, schedule: '* * * *', duration: 1h}":                                            `schedule "* * * *" can't be read`,
		"{kind: allow, schedule: '', duration: 1h}":                                                   "can't be read",
		"{kind: allow, schedule: '61 * * * *', duration: 1h}":                                         "can't be read",
		"{kind: allow, schedule: '* * * * 7', duration: 1h}":                                          "can't be read",
		"{kind: allow, schedule: '@daily', duration: 1h}":                                             "can't be read",
		"{kind: allow, schedule: 'TZ=0', duration: 1h}":                                               "write it as timeZone",
		"{kind: allow, schedule: 'CRON_TZ=Europe/Berlin * * * * *', duration: 1h}":                    "write it as timeZone",
		"{kind: allow, schedule: '0 0 30 2 *', duration: 1h}":                                         "never comes",
		"{kind: deny, schedule: '0 0 31 4,6,9,11 *', duration: 1h}":                                   "never comes",
		"{kind: allow, schedule: ', * * * *', duration: 1h}":                                          "never comes",
		"{kind: allow, schedule: '* * * * *', duration: 0s}":                                          "it never opens",
		"{kind: deny, schedule: '* * * * *', duration: -1h}":                                          "it never opens",
		"{kind: allow, schedule: '* * * * *', duration: 1 hour}":                                      `duration "1 hour" is none`,
		"{kind: allow, schedule: '* * * * *', duration: ''}":                                          `duration "" is none`,
		"{kind: allow, schedule: '* * * * *', duration: 1000000h}":                                    "longer than ten years",
		"{kind: allow, schedule: '* * * * *', duration: 1h, timeZone: Mars/Olympus}":                  `timeZone "Mars/Olympus" is not known`,
		"{kind: allow, schedule: '* * * * *', duration: 1h, timeZone: Local}":                         `timeZone "Local" is not known`,
		"{kind: allow, schedule: '* * * * *', duration: 1h, timeZone: ../../etc/passwd}":              "is not known",
		"{kind: allow, schedule: '* * * * *', duration: 1h, applications: ['[']}":                     `"[" is no glob`,
		"{kind: allow, schedule: '* * * * *', duration: 1h, clusters: ['https://[']}":                 "is no glob",
		"{kind: deny, schedule: '* * * * *', duration: 1h, namespaces: ['['], applications: [other]}": "is no glob",
	} {
		w := windows(t, "["+window+", {kind: allow, schedule: '* * * * *', duration: 1h}]")
		o := w.At(at(t, "2026-03-04T10:00Z"))
		if o.Err == nil || o.Auto || o.Manual || o.Overrun || !strings.Contains(o.Why, words) || !strings.Contains(o.Why, "blocked by sync window: invalid sync windows: spec.syncWindows[0]") {
			t.Errorf("%s: %+v", window, o)
		}
		if ok, why := w.Continues(at(t, "2026-03-04T09:00Z"), at(t, "2026-03-04T10:00Z"), true); ok || why == "" {
			t.Errorf("%s: it goes on", window)
		}
	}
}

func TestAWindowThatCantBeReadHurtsOnlyWhomItIsAbout(t *testing.T) {
	q := project(t, `syncWindows: [{kind: allow, schedule: never, duration: 1h, applications: [web]}, {kind: deny, schedule: '* * * * *', duration: 1h}, {kind: deny, schedule: '* * * * *', duration: 1h, andOperator: true}]`)
	if o := q.Windows(Application{Name: "web"}).At(time.Now()); o.Err == nil {
		t.Errorf("%+v", o)
	}
	if o := q.Windows(Application{Name: "db"}).At(time.Now()); o.Err != nil || !o.Auto {
		t.Errorf("%+v", o)
	}
	if p := q.Problems(); len(p) != 3 || !strings.Contains(p[1].Error(), "names no applications") {
		t.Errorf("%v", p)
	}
}

func TestWhichWindowsAreAboutAnApplication(t *testing.T) {
	web := Application{Name: "web-prod", Server: "https://kubernetes.default.svc", Namespace: "shop"}
	named := Application{Name: "web-prod", Cluster: "in-cluster", Namespace: "shop"}
	for _, c := range []struct {
		selects string
		app     Application
		want    bool
	}{
		{"applications: ['*-prod']", web, true},
		{"applications: ['{web,db}-prod']", web, true},
		{"applications: ['*-dev']", web, false},
		{"namespaces: [shop]", web, true},
		{"namespaces: ['sh?p']", web, true},
		{"namespaces: ['']", web, false},
		{"clusters: ['https://Kubernetes.default.svc:443/']", web, true},
		{"clusters: ['*']", web, true},
		{"clusters: [in-cluster]", web, false},
		{"clusters: [in-cluster]", named, true},
		{"clusters: ['https://kubernetes.default.svc']", named, false},
		{"applications: [other], namespaces: [shop]", web, true},
		{"applications: [other], namespaces: [shop], andOperator: true", web, false},
		{"applications: ['*'], namespaces: [shop], andOperator: true", web, true},
		{"applications: ['*'], clusters: [other], namespaces: [shop], andOperator: true", web, false},
		{"applications: ['*'], andOperator: true", web, true},
		{"namespaces: [shop], clusters: ['https://*'], andOperator: true", web, true},
	} {
		q := project(t, "syncWindows: [{kind: deny, schedule: '* * * * *', duration: 1h, "+c.selects+"}]")
		if got := len(q.Windows(c.app).all) == 1; got != c.want {
			t.Errorf("%s: %v, want %v", c.selects, got, c.want)
		}
	}
}

// The table of Argo CD's documentation of syncOverrun.
func TestWhatHasBegunMayGoOnWhereWindowsSaySo(t *testing.T) {
	allow := func(overrun bool) string {
		return fmt.Sprintf("{kind: allow, schedule: '0 8 * * *', duration: 2h, syncOverrun: %v}", overrun)
	}
	deny := func(overrun bool) string {
		return fmt.Sprintf("{kind: deny, schedule: '30 9 * * *', duration: 4h, syncOverrun: %v}", overrun)
	}
	for _, c := range []struct {
		about, windows string
		began, now     string
		want           bool
	}{
		{"nothing → deny with overrun", deny(true), "09:00", "09:45", true},
		{"nothing → deny without", deny(false), "09:00", "09:45", false},
		{"allow with → deny with", allow(true) + "," + deny(true), "09:00", "09:45", true},
		{"allow with → deny without", allow(true) + "," + deny(false), "09:00", "09:45", false},
		{"allow without → deny with", allow(false) + "," + deny(true), "09:00", "09:45", true},
		{"allow without → deny without", allow(false) + "," + deny(false), "09:00", "09:45", false},
		{"allow with → it ends", allow(true), "09:00", "10:30", true},
		{"allow without → it ends", allow(false), "09:00", "10:30", false},
		{"two allow with → both end", allow(true) + "," + allow(true), "09:00", "10:30", true},
		{"two allow, one without → both end", allow(true) + "," + allow(false), "09:00", "10:30", false},
		{"begun while it was not allowed", allow(true), "07:00", "10:30", false},
		{"still allowed", allow(false), "08:00", "09:00", true},
	} {
		w := windows(t, "["+c.windows+"]")
		ok, why := w.Continues(at(t, "2026-03-04T"+c.began+"Z"), at(t, "2026-03-04T"+c.now+"Z"), false)
		if ok != c.want || ok != (why == "") {
			t.Errorf("%s: %v, %q", c.about, ok, why)
		}
	}
	w := windows(t, "[{kind: deny, schedule: '0 9 * * *', duration: 2h, manualSync: true}]")
	if ok, _ := w.Continues(at(t, "2026-03-04T08:00Z"), at(t, "2026-03-04T09:30Z"), true); !ok {
		t.Error("what a person began ends though people may")
	}
	if ok, _ := w.Continues(at(t, "2026-03-04T08:00Z"), at(t, "2026-03-04T09:30Z"), false); ok {
		t.Error("what began by itself goes on")
	}
}

func TestAWindowThatIsAlwaysOpenIsAskedAgainNowAndThen(t *testing.T) {
	for _, w := range []string{"{kind: allow, schedule: '* * * * *', duration: 1h}", "{kind: allow, schedule: '* * * * *', duration: 1m}", "{kind: deny, schedule: '0 * * * *', duration: 60m}"} {
		now := at(t, "2026-03-04T10:00:30Z")
		o := windows(t, "["+w+"]").At(now)
		if o.Auto != strings.Contains(w, "allow") || !o.Until.After(now.Add(24*time.Hour)) {
			t.Errorf("%s: %+v", w, o)
		}
		if !o.Auto && !strings.Contains(o.Why, "no opening was found") {
			t.Errorf("%s: %s", w, o.Why)
		}
	}
}

func TestManyWindowsTakeNoLongerThanAFew(t *testing.T) {
	var list []string
	for i := range 5000 {
		list = append(list, fmt.Sprintf("{kind: deny, schedule: '%d %d * * *', duration: 30m}", i%60, i%24))
	}
	now := at(t, "2026-03-04T10:00Z")
	o := windows(t, "["+strings.Join(list, ",")+"]").At(now)
	if o.Auto || !o.Until.After(now) || len(o.Why) > 1000 {
		t.Errorf("%v until %s, %d bytes", o.Auto, o.Until, len(o.Why))
	}
}

// zones put their clocks forward and back by an hour and by half of one, at
// midnight, and by a day.
var zones = []struct{ name, from, until string }{
	{"", "2026-01-01T00:00Z", "2026-12-31T00:00Z"},
	{"UTC", "2027-12-28T00:00Z", "2028-03-05T00:00Z"},
	{"Europe/Berlin", "2026-03-27T00:00Z", "2026-03-31T00:00Z"},
	{"Europe/Berlin", "2026-10-23T00:00Z", "2026-10-27T00:00Z"},
	{"America/New_York", "2026-03-06T00:00Z", "2026-03-10T00:00Z"},
	{"America/New_York", "2026-10-30T00:00Z", "2026-11-03T00:00Z"},
	{"Australia/Lord_Howe", "2026-04-03T00:00Z", "2026-04-06T00:00Z"},
	{"Australia/Lord_Howe", "2026-10-02T00:00Z", "2026-10-05T00:00Z"},
	{"America/Sao_Paulo", "2018-11-02T00:00Z", "2018-11-06T00:00Z"},
	{"America/Sao_Paulo", "2018-02-16T00:00Z", "2018-02-20T00:00Z"},
	{"Pacific/Apia", "2011-12-28T00:00Z", "2012-01-02T00:00Z"},
	{"Asia/Kathmandu", "2026-06-01T00:00Z", "2026-06-09T00:00Z"},
	{"Africa/Casablanca", "2026-02-13T00:00Z", "2026-03-25T00:00Z"},
	{"America/St_Johns", "2026-03-06T00:00Z", "2026-03-10T00:00Z"},
}

// cronField reads a field of cron as a person does.
func cronField(t *testing.T, field string, v, low, high int) bool {
	t.Helper()
	number := func(s string) int {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("%s: %v", field, err)
		}
		return n
	}
	for part := range strings.SplitSeq(field, ",") {
		span, step, stepped := strings.Cut(part, "/")
		from, to, ranged := strings.Cut(span, "-")
		a, b := low, high
		if from != "*" {
			a = number(from)
			if b = a; ranged {
				b = number(to)
			} else if stepped {
				b = high
			}
		}
		n := 1
		if stepped {
			n = number(step)
		}
		for x := a; x <= b; x += n {
			if x == v {
				return true
			}
		}
	}
	return false
}

func cronMatches(t *testing.T, spec string, shown time.Time) bool {
	t.Helper()
	f := strings.Fields(spec)
	if !cronField(t, f[0], shown.Minute(), 0, 59) || !cronField(t, f[1], shown.Hour(), 0, 23) || !cronField(t, f[3], int(shown.Month()), 1, 12) {
		return false
	}
	dom, dow := cronField(t, f[2], shown.Day(), 1, 31), cronField(t, f[4], int(shown.Weekday()), 0, 6)
	if f[2] == "*" || f[4] == "*" {
		return dom && dow
	}
	return dom || dow
}

// shownAt is what clocks show, as if there were no zones.
func shownAt(at time.Time, zone *time.Location) time.Time {
	l := at.In(zone)
	return time.Date(l.Year(), l.Month(), l.Day(), l.Hour(), l.Minute(), 0, 0, time.UTC)
}

// opens is, by minute from first on, whether a window is open.
func opens(t *testing.T, w argocd.SyncWindow, first, end time.Time) (open []bool) {
	t.Helper()
	zone, err := time.LoadLocation(w.TimeZone)
	if err != nil {
		t.Fatal(err)
	}
	d, err := time.ParseDuration(w.Duration)
	if err != nil {
		t.Fatal(err)
	}
	var last time.Time
	before := first.Add(-d - 30*time.Hour)
	shown := shownAt(before.Add(-time.Minute), zone)
	for now := before; now.Before(end); now = now.Add(time.Minute) {
		next := shownAt(now, zone)
		for left := shown.Add(time.Minute); left.Before(next); left = left.Add(time.Minute) {
			if cronMatches(t, w.Schedule, left) {
				last = now
			}
		}
		if cronMatches(t, w.Schedule, next) {
			last = now
		}
		shown = next
		if !now.Before(first) {
			open = append(open, !last.IsZero() && now.Before(last.Add(d)))
		}
	}
	return open
}

// allows is what Argo CD's rules say of one minute.
func allows(all []argocd.SyncWindow, open func(i int) bool) (auto, manual bool) {
	var denies, closed []argocd.SyncWindow
	anyOpen := false
	for i, w := range all {
		switch {
		case w.Kind == "deny" && open(i):
			denies = append(denies, w)
		case w.Kind == "allow" && open(i):
			anyOpen = true
		case w.Kind == "allow":
			closed = append(closed, w)
		}
	}
	against := denies
	if len(denies) == 0 && !anyOpen {
		against = closed
	}
	manual = true
	for _, w := range against {
		manual = manual && w.ManualSync
	}
	return len(against) == 0, manual
}

func TestWindowsAreAsAMinuteByMinuteOracleSays(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	n := strconv.Itoa
	rounds := 24
	if testing.Short() {
		rounds = 15
	}
	checked := 0
	for range rounds {
		z := zones[r.IntN(len(zones))]
		first, end := at(t, z.from), at(t, z.until)
		if longest := 3 * 24 * time.Hour; end.Sub(first) > longest {
			first = first.Add(time.Duration(r.Int64N(int64(end.Sub(first)-longest)/int64(time.Minute))) * time.Minute)
			end = first.Add(longest)
		}
		var all []argocd.SyncWindow
		for range 1 + r.IntN(3) {
			all = append(all, argocd.SyncWindow{
				Kind: pick("allow", "deny"), TimeZone: z.name, Applications: []string{"*"}, ManualSync: r.IntN(2) == 0,
				Duration: pick("1m", "7m", "30m", "1h", "90m", "5h", "24h", "30h"),
				Schedule: strings.Join([]string{
					pick("0", "30", "*/15", n(r.IntN(60)), n(r.IntN(60))+","+n(r.IntN(60)), "10-20/5", "*"),
					pick("*", n(r.IntN(24)), "1-3", "2", "0", "23,0", "*/6", "5/9"),
					pick("*", "*", "*", n(1+r.IntN(28)), "29", "31", "*/2"),
					pick("*", "*", "*", n(int(first.Month()))),
					pick("*", "*", "*", n(r.IntN(7)), "1-5", "0,6"),
				}, " "),
			})
		}
		if check(t, r, all, first, end) {
			checked++
		}
	}
	if checked < rounds*2/3 {
		t.Errorf("only %d of %d had windows that open", checked, rounds)
	}
}

// check compares windows with the oracle, unless one of them never opens.
func check(t *testing.T, r *rand.Rand, all []argocd.SyncWindow, first, end time.Time) bool {
	t.Helper()
	q := New(&argocd.AppProject{Spec: argocd.AppProjectSpec{SyncWindows: all}}, Scope{})
	w := q.Windows(Application{Name: "web"})
	if w.unread() != nil {
		return false
	}
	var open [][]bool // by window, then by minute
	for _, one := range all {
		open = append(open, opens(t, one, first, end))
	}
	minutes := len(open[0])
	is := func(i int) (auto, manual bool) { return allows(all, func(j int) bool { return open[j][i] }) }
	for i := range minutes {
		now := first.Add(time.Duration(i) * time.Minute)
		s := w.state(now)
		if auto, manual := is(i); s.auto != auto || s.manual != manual {
			t.Fatalf("%+v\nat %s: auto %v, manual %v; want %v, %v", all, now, s.auto, s.manual, auto, manual)
		}
	}
	for range 20 {
		i := r.IntN(minutes)
		now := first.Add(time.Duration(i)*time.Minute + time.Duration(r.IntN(60))*time.Second)
		answer := w.At(now)
		auto, manual := is(i)
		if answer.Auto != auto || answer.Manual != manual {
			t.Fatalf("%+v\nat %s: %+v", all, now, answer)
		}
		var opened time.Time
		for j := i + 1; j < minutes; j++ {
			then := first.Add(time.Duration(j) * time.Minute)
			a, m := is(j)
			if (a != auto || m != manual) && (answer.Until.IsZero() || then.Before(answer.Until)) {
				t.Fatalf("%+v\nat %s: until %s, but at %s it is another", all, now, answer.Until, then)
			}
			if then.Equal(answer.Until) && w.state(then).same(w.state(now)) {
				t.Fatalf("%+v\nat %s: until %s, when nothing changes", all, now, answer.Until)
			}
			if a && opened.IsZero() {
				opened = then
			}
		}
		if !auto && !opened.IsZero() && !strings.Contains(answer.Why, "it opens at "+opened.Format(time.RFC3339)) {
			t.Fatalf("%+v\nat %s: %s; it opens at %s", all, now, answer.Why, opened)
		}
	}
	return true
}

// Before and after are each other's mirror.
func TestTheLastTimeAndTheNextAreNeighbours(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		z := zones[r.IntN(len(zones))]
		spec := fmt.Sprintf("%d %d * * %d", r.IntN(60), r.IntN(24), r.IntN(7))
		s, err := parseSchedule(spec, z.name)
		if err != nil {
			t.Fatal(err)
		}
		from, until := at(t, z.from), at(t, z.until)
		now := from.Add(time.Duration(r.Int64N(int64(until.Sub(from)))))
		next, ok := s.after(now)
		last, ok2 := s.upTo(now)
		if !ok || !ok2 || !next.After(now) || last.After(now) {
			t.Fatalf("%s %s at %s: %s, %s", spec, z.name, now, last, next)
		}
		if again, _ := s.upTo(next); !again.Equal(next) {
			t.Fatalf("%s %s: the last until %s is %s", spec, z.name, next, again)
		}
		if again, _ := s.after(last); !again.Equal(next) {
			t.Fatalf("%s %s: after %s comes %s, and after %s %s", spec, z.name, now, next, last, again)
		}
	}
}

func BenchmarkAt(b *testing.B) {
	var all []argocd.SyncWindow
	for i := range 10 {
		all = append(all, argocd.SyncWindow{Kind: "deny", Schedule: fmt.Sprintf("%d 22 * * 1-5", i), Duration: "8h", TimeZone: "Europe/Berlin", Applications: []string{"*"}})
	}
	w := New(&argocd.AppProject{Spec: argocd.AppProjectSpec{SyncWindows: all}}, Scope{}).Windows(Application{Name: "web"})
	now := time.Date(2026, 3, 4, 23, 0, 0, 0, time.UTC)
	for b.Loop() {
		w.At(now)
	}
}
