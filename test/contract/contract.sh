#!/usr/bin/env bash
# What clients of Flux's API rely on, with kubectl alone: conditions to wait
# for, a reconciliation asked for by annotation, suspend and resume, inventory
# ids, and events. It needs a cluster on which plumb runs, and a Git repository
# that is served to it, whose folder app/ holds the ConfigMaps a and b and the
# Deployment web.
#
#   KUBECONFIG=… contract.sh NAMESPACE GIT-URL
set -euo pipefail

ns=$1 url=$2
k() { kubectl -n "$ns" "$@"; }
fail() { echo "contract: $*" >&2; k get kustomization app -o yaml >&2 || true; exit 1; }
step() { echo "contract: $*"; }
# until_true COMMAND…: polls with a deadline
until_true() {
	local end=$((SECONDS + 30))
	until "$@" >/dev/null 2>&1; do
		((SECONDS < end)) || fail "still not so after 30 s: $*"
		sleep 0.1
	done
}
field() { k get kustomization app -o "jsonpath={$1}"; }
is() { [[ "$(field "$1")" == "$2" ]]; }

kubectl create namespace "$ns" --dry-run=client -o yaml | kubectl apply -f - >/dev/null
k apply -f - >/dev/null <<EOF
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: app}
spec: {interval: 10m, url: "$url", ref: {branch: main}}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: app}
spec: {interval: 10m, prune: true, wait: true, timeout: 1m, path: ./app, sourceRef: {kind: GitRepository, name: app}}
EOF

step "kubectl wait sees the source and the Kustomization become ready"
k wait gitrepository/app --for=condition=Ready --timeout=30s >/dev/null
k wait kustomization/app --for=condition=Ready --timeout=60s >/dev/null
rev=$(k get gitrepository app -o 'jsonpath={.status.artifact.revision}')
[[ $rev =~ ^main@sha1:[0-9a-f]{40}$ ]] || fail "revision is $rev"
is '.status.lastAppliedRevision' "$rev" || fail "lastAppliedRevision is not $rev"
is '.status.conditions[?(@.type=="Ready")].message' "Applied revision: $rev" || fail "the message is another"
is '.status.conditions[?(@.type=="Ready")].reason' ReconciliationSucceeded || fail "the reason is another"
is '.status.conditions[?(@.type=="Healthy")].status' True || fail "not Healthy"
is '.status.conditions[?(@.type=="Reconciling")].status' "" || fail "Reconciling is there"
is '.status.conditions[?(@.type=="Stalled")].status' "" || fail "Stalled is there"
[[ $(k get gitrepository app -o 'jsonpath={.status.conditions[?(@.type=="Ready")].message}') == "stored artifact for revision '$rev'" ]] || fail "the source's message is another"
gen=$(field .metadata.generation)
for g in $(field '.status.conditions[*].observedGeneration') $(field .status.observedGeneration); do
	[[ $g == "$gen" ]] || fail "an observedGeneration is $g, not $gen"
done

step "the inventory has Flux's ids"
ids=$(field '.status.inventory.entries[*].id')
[[ $ids == "${ns}_a__ConfigMap ${ns}_b__ConfigMap ${ns}_web_apps_Deployment" ]] || fail "ids are $ids"
is '.status.inventory.entries[*].v' "v1 v1 v1" || fail "versions are another"
[[ $(k get configmap a -o 'jsonpath={.metadata.labels.kustomize\.toolkit\.fluxcd\.io/name} {.metadata.labels.kustomize\.toolkit\.fluxcd\.io/namespace}') == "app $ns" ]] || fail "owner labels are another"
k get configmap a --show-managed-fields -o 'jsonpath={.metadata.managedFields[*].manager}' | grep -qw kustomize-controller || fail "the field manager is another"

step "a reconciliation that is asked for is handled, and everything is current"
stamp=$(date --iso-8601=ns)
k annotate kustomization app --overwrite reconcile.fluxcd.io/requestedAt="$stamp" >/dev/null
until_true is .status.lastHandledReconcileAt "$stamp"
is .status.observedGeneration "$(field .metadata.generation)" || fail "observedGeneration is not current"
is '.status.conditions[?(@.type=="Reconciling")].status' "" || fail "Reconciling is there"
is '.status.conditions[?(@.type=="Stalled")].status' "" || fail "Stalled is there"
is '.status.conditions[?(@.type=="Ready")].status' True || fail "not Ready"
k annotate gitrepository app --overwrite reconcile.fluxcd.io/requestedAt="$stamp" >/dev/null
source_is() { [[ $(k get gitrepository app -o 'jsonpath={.status.lastHandledReconcileAt}') == "$stamp" ]]; }
until_true source_is

step "a suspended Kustomization corrects nothing, a resumed one does"
k patch kustomization app --type=merge -p '{"spec":{"suspend":true}}' >/dev/null
k delete configmap a >/dev/null
k annotate kustomization app --overwrite reconcile.fluxcd.io/requestedAt="while suspended" >/dev/null
sleep 1
if k get configmap a >/dev/null 2>&1; then fail "it was put back while suspended"; fi
k patch kustomization app --type=merge -p '{"spec":{"suspend":false}}' >/dev/null
until_true k get configmap a
until_true is .status.observedGeneration "$(field .metadata.generation)"
k wait kustomization/app --for=condition=Ready --timeout=30s >/dev/null

step "Ready does not flicker: nothing to do writes nothing"
before=$(field .metadata.resourceVersion)
k annotate kustomization app note=1 >/dev/null
after=$(field .metadata.resourceVersion)
sleep 2
is .metadata.resourceVersion "$after" || fail "the status was written again: $before $after $(field .metadata.resourceVersion)"

step "events are found by involvedObject"
events() { k get events --field-selector "involvedObject.kind=$1,involvedObject.name=app,reason=$2" -o name; }
has_event() { [[ -n $(events "$1" "$2") ]]; }
until_true has_event Kustomization ReconciliationSucceeded
until_true has_event Kustomization Progressing
until_true has_event GitRepository NewArtifact

step "a field that this version can't honour stalls the Kustomization and is named"
k patch kustomization app --type=merge -p '{"spec":{"decryption":{"provider":"sops"}}}' >/dev/null
k wait kustomization/app --for=condition=Stalled --timeout=30s >/dev/null
[[ $(field '.status.conditions[?(@.type=="Ready")].message') == *decryption* ]] || fail "the field is not named"
k patch kustomization app --type=json -p '[{"op":"remove","path":"/spec/decryption"}]' >/dev/null
k wait kustomization/app --for=condition=Ready --timeout=30s >/dev/null

step "deleting the Kustomization prunes what it applied"
k delete kustomization app >/dev/null
gone() { ! k get "$1" >/dev/null 2>&1; }
until_true gone configmap/a
until_true gone deployment/web
kubectl delete namespace "$ns" --wait=false >/dev/null
echo "contract: all of it holds"
