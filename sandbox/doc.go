// Plumb-sandbox runs a Kubernetes cluster and a Git server on one machine, for
// plumb's demo and tests. It is one program that needs nothing else installed
// but git.
//
//	plumb-sandbox up --dir DIR --kubeconfig FILE      a cluster
//	plumb-sandbox git --root DIR --addr HOST:PORT     a Git server
//	plumb-sandbox charts --root DIR --addr HOST:PORT  Helm repositories and an OCI registry
//	plumb-sandbox kubectl …                           kubectl, of the same release
//
// The cluster's control plane is the real one: etcd, kube-apiserver,
// kube-controller-manager and kube-scheduler, linked from their Go modules,
// each a process of its own. What needs machines is simulated: kwok plays the
// nodes, so a pod that is scheduled is Running and Ready at once although
// nothing runs, a Job's pod completes, a claim of the storage class "standard"
// gets a volume, and a Service of type LoadBalancer and an Ingress get an
// address. A pod's annotations change what becomes of it:
//
//	sandbox.plumb.dev/never-ready: "true"   it stays Pending, until the annotation goes
//	sandbox.plumb.dev/ready-after: "3s"     it stays Pending for so long
//	sandbox.plumb.dev/fail: "true"          it ends as Failed, and its Job with it; where it is
//	                                        restarted always, as a Deployment's is, it is
//	                                        Running, not ready, in CrashLoopBackOff
//
// All of them run in the foreground, print one line that begins with "ready"
// on stdout when they are, and leave no process behind, however they end. A
// cluster is for one machine and one user: etcd doesn't wait for the disk, so
// a cluster survives the death of any of its processes, but not of the
// machine.
package main
