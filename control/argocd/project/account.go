package project

import (
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/validate/content"

	"plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/control/argocd/address"
	"plumb.dev/plumb/fault"
)

// An account is an entry of destinationServiceAccounts.
type account struct {
	rule
	server    address.ServerPattern
	namespace func(string) bool
	account   string
	err       error // it can't be told what it matches
	bad       error // it matches, but its account is none
}

func (q *Project) readAccounts() {
	for _, part := range q.parts {
		for i, d := range part.spec.DestinationServiceAccounts {
			a := account{rule: rule{part.name, fmt.Sprintf("destinationServiceAccounts[%d]", i), ""}, account: d.DefaultServiceAccount}
			a.err, a.bad = a.read(d), isAccount(d.DefaultServiceAccount)
			for _, err := range []error{a.err, a.bad} {
				if err != nil {
					q.problem(a.rule, err)
				}
			}
			q.accounts = append(q.accounts, a)
		}
	}
}

// read takes over what an entry matches.
func (a *account) read(d argocd.DestinationServiceAccount) (err error) {
	if strings.Contains(d.Server+d.Namespace, "!") {
		return errors.New("here ! denies nothing: server and namespace are globs")
	}
	if a.server, err = address.ParseServerPattern(d.Server); err != nil {
		return fmt.Errorf("server: %w", err)
	}
	if a.namespace, err = compile(d.Namespace); err != nil {
		return fmt.Errorf("namespace: %w", err)
	}
	return nil
}

// isAccount reports why a name is none of an account, with a namespace or
// without.
func isAccount(s string) error {
	namespace, name, two := strings.Cut(s, ":")
	if !two {
		namespace, name = "default", s
	}
	if len(content.IsDNS1123Label(namespace)) > 0 || len(content.IsDNS1123Subdomain(name)) > 0 {
		return fmt.Errorf("defaultServiceAccount %q is neither NAME nor NAMESPACE:NAME of a service account", s)
	}
	return nil
}

// Account returns whom to impersonate at a destination, or nobody if no entry
// matches, which is an error if enforced. An account without a namespace is of
// the destination's, or of the Application's own where that is empty. The first
// entry that matches counts; one before it that can't be read is an error, since
// it might have been that.
func (q *Project) Account(d Destination, appNamespace string, enforced bool) (user string, err error) {
	server, err := address.Server(d.Server)
	if err != nil {
		return "", err
	}
	for _, a := range q.accounts {
		bad := a.err
		if bad == nil {
			if !a.server.Matches(server) || !a.namespace(d.Namespace) {
				continue
			}
			bad = a.bad
		}
		if bad == nil {
			return a.user(d.Namespace, appNamespace), nil
		}
		return "", &fault.Error{
			Next: fault.Stall, Reason: fault.InvalidSpec, Hint: "correct that entry of the project",
			Err: fmt.Errorf("failed to derive service account to impersonate: project '%s': %s: %w", q.Name, a.rule, bad),
		}
	}
	if !enforced {
		return "", nil
	}
	return "", &fault.Error{
		Next: fault.Stall, Reason: fault.InvalidSpec, Hint: "add one, or set application.sync.impersonation.enforced to false in argocd-cm",
		Err: fmt.Errorf("no matching service account found for destination server %s and namespace %s: no entry of spec.destinationServiceAccounts of project '%s' matches them",
			address.Show(d.Server), d.Namespace, q.Name),
	}
}

func (a account) user(namespace, appNamespace string) string {
	if ns, name, ok := strings.Cut(a.account, ":"); ok {
		return cluster.User(ns, name)
	}
	if namespace == "" {
		namespace = appNamespace
	}
	return cluster.User(namespace, a.account)
}
