package git

import (
	"bytes"
	"plumb.dev/plumb/source/web"
	"strconv"
	"strings"
	"time"
)

// A Commit is what a commit says of itself. Nobody has checked it: anyone who
// can push can write any author.
type Commit struct {
	Hash          string
	Author, Email string
	When          time.Time // as the author has it
	Committed     time.Time // by which Flux tells the newer of two
	Message       string
}

// parseCommit returns the commit, its tree and its parents.
func parseCommit(id oid, b []byte) (c Commit, root oid, parents []oid, err error) {
	c.Hash = id.String()
	head, message, _ := bytes.Cut(b, []byte("\n\n"))
	c.Message = web.Clip(string(bytes.ToValidUTF8(message, []byte("?"))), 64<<10)
	for line := range strings.SplitSeq(string(head), "\n") {
		key, value, _ := strings.Cut(line, " ")
		switch key {
		case "tree":
			if root, err = parseOID(value); err != nil {
				return c, root, nil, errCorrupt("commit %s: %w", id, err)
			}
		case "parent":
			p, err := parseOID(value)
			if err != nil {
				return c, root, nil, errCorrupt("commit %s: %w", id, err)
			}
			parents = append(parents, p)
		case "author":
			c.Author, c.Email, c.When = parsePerson(value)
		case "committer":
			_, _, c.Committed = parsePerson(value)
		}
	}
	if root.isZero() {
		return c, root, nil, errCorrupt("commit %s has no tree", id)
	}
	return c, root, parents, nil
}

// parsePerson parses "Name <email> seconds zone". What does not parse is left
// empty: old tools wrote all sorts of things.
func parsePerson(s string) (name, email string, when time.Time) {
	s = strings.ToValidUTF8(s, "?")
	open, end := strings.IndexByte(s, '<'), strings.LastIndexByte(s, '>')
	if open < 0 || end < open {
		return strings.TrimSpace(s), "", time.Time{}
	}
	name, email = strings.TrimSpace(s[:open]), s[open+1:end]
	f := strings.Fields(s[end+1:])
	if len(f) == 0 {
		return name, email, time.Time{}
	}
	sec, err := strconv.ParseInt(f[0], 10, 64)
	if err != nil || sec < 0 || sec > 1<<40 {
		return name, email, time.Time{}
	}
	zone := time.UTC
	if len(f) > 1 && len(f[1]) == 5 {
		if n, err := strconv.Atoi(f[1]); err == nil {
			zone = time.FixedZone("", (n/100*60+n%100)*60)
		}
	}
	return name, email, time.Unix(sec, 0).In(zone)
}
