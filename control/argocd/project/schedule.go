package project

import (
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"time"
	_ "time/tzdata" // plumb's image has no zones of its own

	"github.com/robfig/cron/v3"
)

// A schedule is the minutes at which a window opens, by the clock of a place.
//
// Where clocks are put forward, a minute that is left out counts as the moment
// of the change; where they are put back, one that comes twice counts twice.
type schedule struct {
	minute, hour, dom, month, dow uint64
	zone                          *time.Location
}

// starBit is set by the parser in a field that is * or ?.
const starBit = 1 << 63

// fields are those that Argo CD and Kubernetes read.
var fields = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)

// parseSchedule reads five fields of cron. What never comes is an error.
func parseSchedule(spec, zone string) (s schedule, err error) {
	if strings.HasPrefix(spec, "TZ=") || strings.HasPrefix(spec, "CRON_TZ=") {
		return s, fmt.Errorf("schedule %q: the zone does not belong there; write it as timeZone", spec)
	}
	if s.zone, err = time.LoadLocation(zone); err != nil || zone == "Local" {
		return s, fmt.Errorf("timeZone %q is not known; write one such as Europe/Berlin", zone)
	}
	parsed, err := fields.Parse(spec)
	if err != nil {
		return s, fmt.Errorf("schedule %q can't be read: %w", spec, err)
	}
	bit, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return s, fmt.Errorf("schedule %q is not five fields of cron", spec)
	}
	s.minute, s.hour, s.dom, s.month, s.dow = bit.Minute, bit.Hour, bit.Dom, bit.Month, bit.Dow
	if _, ever := s.wallFrom(aLeapYear); !ever {
		return s, errors.New("schedule " + fmt.Sprintf("%q", spec) + " never comes: no month that it names has that day")
	}
	return s, nil
}

// A wall is what clocks show: minutes since 1970 as if there were no zones.
type wall int64

const (
	aDay = 24 * 60
	// horizon is how many days there may be between two days of a schedule: from
	// a 29 February to one after a year that is divisible by 100.
	horizon = 8*366 + 1
)

// aLeapYear is a day from which the horizon has all days that there are.
var aLeapYear = wall(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC).Unix() / 60)

// day reports whether the schedule has the day of w.
func (s schedule) day(w wall) bool {
	t := time.Unix(int64(w)*60, 0).UTC()
	dom := s.dom>>t.Day()&1 == 1
	dow := s.dow>>t.Weekday()&1 == 1
	month := s.month>>t.Month()&1 == 1
	if s.dom&starBit != 0 || s.dow&starBit != 0 {
		return month && dom && dow
	}
	return month && (dom || dow)
}

// floor is w at the beginning of its day.
func (w wall) floor() wall {
	r := w % aDay
	if r < 0 {
		r += aDay
	}
	return w - r
}

// wallFrom is the first minute from w on.
func (s schedule) wallFrom(w wall) (wall, bool) {
	for day := w.floor(); day <= w.floor()+horizon*aDay; day += aDay {
		if !s.day(day) {
			continue
		}
		from := max(w-day, 0)
		for hour := int(from / 60); hour < 24; hour++ {
			if s.hour>>hour&1 == 0 {
				continue
			}
			first := 0
			if hour == int(from/60) {
				first = int(from % 60)
			}
			if rest := s.minute &^ starBit >> first; rest != 0 {
				return day + wall(hour*60+first+bits.TrailingZeros64(rest)), true
			}
		}
	}
	return 0, false
}

// wallUntil is the last minute until w.
func (s schedule) wallUntil(w wall) (wall, bool) {
	for day := w.floor(); day >= w.floor()-horizon*aDay; day -= aDay {
		if !s.day(day) {
			continue
		}
		until := min(w-day, aDay-1)
		for hour := int(until / 60); hour >= 0; hour-- {
			if s.hour>>hour&1 == 0 {
				continue
			}
			last := 59
			if hour == int(until/60) {
				last = int(until % 60)
			}
			if rest := s.minute &^ starBit << (63 - last); rest != 0 {
				return day + wall(hour*60+last-bits.LeadingZeros64(rest)), true
			}
		}
	}
	return 0, false
}

// offset is by how much clocks are ahead at t, and from when until when; a zero
// time is no end.
func (s schedule) offset(t time.Time) (ahead time.Duration, from, until time.Time) {
	t = t.In(s.zone)
	_, seconds := t.Zone()
	from, until = t.ZoneBounds()
	return time.Duration(seconds) * time.Second, from, until
}

// wallAt is what clocks show at t that are ahead by so much.
func wallAt(t time.Time, ahead time.Duration) wall {
	shown := t.Add(ahead).Unix()
	if shown < 0 {
		shown -= 59
	}
	return wall(shown / 60)
}

// at is when clocks show w.
func (w wall) at(ahead time.Duration) time.Time {
	return time.Unix(int64(w)*60, 0).UTC().Add(-ahead)
}

// leftOut reports whether a minute of the schedule is among those that clocks
// leave out when they are changed at t.
func (s schedule) leftOut(t time.Time) bool {
	before, _, _ := s.offset(t.Add(-time.Second))
	after, _, _ := s.offset(t)
	if after <= before {
		return false
	}
	w, ok := s.wallFrom(wallAt(t, before))
	return ok && w < wallAt(t, after)
}

// after is the first time after t. There may be none for years, but not for
// ever.
func (s schedule) after(t time.Time) (time.Time, bool) {
	ahead, _, until := s.offset(t)
	w := wallAt(t, ahead) + 1
	for {
		next, ok := s.wallFrom(w)
		at := next.at(ahead)
		if ok && (until.IsZero() || at.Before(until)) {
			return at, true
		}
		if until.IsZero() || until.Sub(t) > 2*horizon*24*time.Hour {
			return time.Time{}, false
		}
		if s.leftOut(until) {
			return until.UTC(), true
		}
		change := until
		ahead, _, until = s.offset(change)
		w = wallAt(change, ahead)
	}
}

// upTo is the last time that is not after t.
func (s schedule) upTo(t time.Time) (time.Time, bool) {
	ahead, from, _ := s.offset(t)
	w := wallAt(t, ahead)
	for {
		last, ok := s.wallUntil(w)
		at := last.at(ahead)
		if ok && (from.IsZero() || !at.Before(from)) {
			return at, true
		}
		if from.IsZero() || t.Sub(from) > 2*horizon*24*time.Hour {
			return time.Time{}, false
		}
		if s.leftOut(from) {
			return from.UTC(), true
		}
		before := from.Add(-time.Second)
		ahead, from, _ = s.offset(before)
		w = wallAt(before, ahead)
	}
}
