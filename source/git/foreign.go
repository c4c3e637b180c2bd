package git

import (
	"errors"
	"strings"

	"golang.org/x/crypto/ssh"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source/web"
)

// This file is where another program's words decide, because there is nothing
// else to go by. TestWordsOfOthers… holds them against the programs.

// refusedLogin is in the error of golang.org/x/crypto/ssh for a server that
// accepted none of the ways to log in; it has no type.
const refusedLogin = "ssh: unable to authenticate"

// sshError says what a handshake failed for.
func sshError(err error) error {
	var f *fault.Error
	var none *ssh.AlgorithmNegotiationError
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &none) && none.What == "host key":
		return hostKeyMismatch("the server has none of the kinds of key that are known for it")
	case strings.Contains(err.Error(), refusedLogin):
		return failure(ReasonAuthFailed, "the server accepts none of the credentials")
	}
	return err
}

// A phrase is what servers say, in lower case, and what it means. Git's
// protocol has an ERR packet with words and no code, and over SSH there is only
// the standard error.
type phrase struct {
	words  string
	reason fault.Reason
}

var phrases = []phrase{
	{"not our ref", ReasonReferenceNotFound},                      // git upload-pack, to a want of what is not advertised
	{"unadvertised object", ReasonReferenceNotFound},              // git, and some hosts
	{"does not appear to be a git repository", ReasonNotFound},    // git upload-pack
	{"repository not found", ReasonNotFound},                      // github.com, bitbucket.org
	{"repository does not exist", ReasonNotFound},                 // Gitea, Forgejo
	{"project you were looking for could not be", ReasonNotFound}, // GitLab
	{"permission denied", ReasonAuthFailed},                       // sshd, and the shells of hosts
	{"permission to", ReasonAuthFailed},                           // github.com: Permission to … denied to …
	{"access denied", ReasonAuthFailed},                           // GitLab, Gerrit
	{"you are not allowed to", ReasonAuthFailed},                  // GitLab
	{"unauthorized", ReasonAuthFailed},                            // Bitbucket
}

// serverError is what a server says in words. They are its own, so all that
// comes of them is the reason: it is tried again whatever they mean.
func serverError(msg string) error {
	msg = web.OneLine(msg, 300)
	lower := strings.ToLower(msg)
	for _, p := range phrases {
		if !strings.Contains(lower, p.words) {
			continue
		}
		if p.reason == ReasonReferenceNotFound {
			f := failure(p.reason, "the server does not hand out that commit: %s", msg)
			f.Hint = "name a branch that contains it"
			return f
		}
		return failure(p.reason, "the server says: %s", msg)
	}
	return failure(ReasonServerError, "the server says: %s", msg)
}
