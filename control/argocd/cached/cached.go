// Package cached is what Argo CD's own server reads in Redis: of an Application
// its objects as they are desired and as they are, and its tree; of a cluster
// whether it answers. Argo CD's controller writes the same.
//
// Here are the shapes, how they are stored, and how an object becomes a node of
// a tree. Who looks at an Application, and when something is written, is for
// package shown. Values of Secrets are in nothing that comes from here.
package cached

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	corev1 "k8s.io/api/core/v1"
)

// A Resource is an object of an Application, as it is desired and as it is. The
// states are JSON, and null for what is not there.
type Resource struct {
	Group       string `json:"group,omitempty"`
	Kind        string `json:"kind,omitempty"`
	Namespace   string `json:"namespace,omitempty"`
	Name        string `json:"name,omitempty"`
	TargetState string `json:"targetState,omitempty"`
	LiveState   string `json:"liveState,omitempty"`
	Hook        bool   `json:"hook,omitempty"`
	// Where these two differ, the object is out of sync: the live object without
	// what does not count, and what a sync would make of it.
	NormalizedLiveState string `json:"normalizedLiveState,omitempty"`
	PredictedLiveState  string `json:"predictedLiveState,omitempty"`
	ResourceVersion     string `json:"resourceVersion,omitempty"`
	Modified            bool   `json:"modified,omitempty"`
}

// A Tree is the objects of an Application and what they own, flat.
type Tree struct {
	Nodes []Node `json:"nodes,omitempty"`
	// Orphaned are objects of its namespace that no Application has.
	Orphaned []Node `json:"orphanedNodes,omitempty"`
	Hosts    []Host `json:"hosts,omitempty"`
}

// A Ref names an object.
type Ref struct {
	Group     string `json:"group,omitempty"`
	Version   string `json:"version,omitempty"`
	Kind      string `json:"kind,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	UID       string `json:"uid,omitempty"`
}

// A Node is an object in a tree. One that is missing has no UID.
type Node struct {
	Ref
	ParentRefs      []Ref        `json:"parentRefs,omitempty"`
	Info            []Info       `json:"info,omitempty"`
	Networking      *Networking  `json:"networkingInfo,omitempty"`
	ResourceVersion string       `json:"resourceVersion,omitempty"`
	Images          []string     `json:"images,omitempty"`
	Health          *Health      `json:"health,omitempty"`
	CreatedAt       *metav1.Time `json:"createdAt,omitempty"`
}

// A Health says how an object is, in Argo CD's words.
type Health struct {
	Status  string `json:"status,omitempty"`
	Message string `json:"message,omitempty"`
}

// An Info is something to show beside a node.
type Info struct {
	Name  string `json:"name,omitempty"`
	Value string `json:"value,omitempty"`
}

// Networking says where the traffic of an object goes.
type Networking struct {
	TargetLabels map[string]string            `json:"targetLabels,omitempty"`
	TargetRefs   []Ref                        `json:"targetRefs,omitempty"`
	Labels       map[string]string            `json:"labels,omitempty"`
	Ingress      []corev1.LoadBalancerIngress `json:"ingress,omitempty"`
	ExternalURLs []string                     `json:"externalURLs,omitempty"`
}

// A Host is a node of the cluster that Pods of the Application are on.
type Host struct {
	Name      string                `json:"name,omitempty"`
	Resources []HostResource        `json:"resourcesInfo,omitempty"`
	System    corev1.NodeSystemInfo `json:"systemInfo,omitempty"`
	Labels    map[string]string     `json:"labels,omitempty"`
}

// A HostResource is how much of something there is on a host, in thousandths.
type HostResource struct {
	Name      corev1.ResourceName `json:"resourceName,omitempty"`
	ByApp     int64               `json:"requestedByApp,omitempty"`
	ByOthers  int64               `json:"requestedByNeighbors,omitempty"`
	Available int64               `json:"capacity,omitempty"`
}

// A Cluster says whether a cluster answers.
type Cluster struct {
	Connection    Connection   `json:"connectionState"`
	ServerVersion string       `json:"serverVersion,omitempty"`
	Cache         ClusterCache `json:"cacheInfo"`
	Applications  int64        `json:"applicationsCount"`
	APIVersions   []string     `json:"apiVersions,omitempty"`
}

// A ClusterCache is how much of a cluster is known.
type ClusterCache struct {
	APIs     int64        `json:"apisCount,omitempty"`
	SyncedAt *metav1.Time `json:"lastCacheSyncTime,omitempty"`
}

// A Connection is how a connection is.
type Connection struct {
	Status  string       `json:"status"`
	Message string       `json:"message"`
	At      *metav1.Time `json:"attemptedAt"`
}

// The states of connections.
const (
	Successful = "Successful"
	Failed     = "Failed"
)
