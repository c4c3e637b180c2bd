package component

import (
	"context"
	"embed"
	"flag"
	"fmt"
	"io/fs"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	nodestages "sigs.k8s.io/kwok/kustomize/stage/node/fast"
	heartbeatstages "sigs.k8s.io/kwok/kustomize/stage/node/heartbeat-with-lease"
	podstages "sigs.k8s.io/kwok/kustomize/stage/pod/fast"
	"sigs.k8s.io/kwok/pkg/apis/internalversion"
	"sigs.k8s.io/kwok/pkg/client/clientset/versioned"
	"sigs.k8s.io/kwok/pkg/config"
	"sigs.k8s.io/kwok/pkg/kwok/controllers"
	"sigs.k8s.io/kwok/pkg/log"
	"sigs.k8s.io/kwok/pkg/utils/client"
)

// runKwok plays the nodes and what runs on them until ctx is done: it is a
// kubelet for every node, and a cloud that gives volumes and addresses.
func runKwok(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet(Kwok, flag.ContinueOnError)
	kubeconfig := flags.String("kubeconfig", "", "kubeconfig file")
	if err := flags.Parse(args); err != nil {
		return err
	}

	ctx = log.NewContext(ctx, log.NewLogger(flags.Output(), log.LevelInfo))
	cfg, err := kwokConfig(*kubeconfig)
	if err != nil {
		return err
	}
	if cfg.LocalStages, err = stages(); err != nil {
		return err
	}
	controller, err := controllers.NewController(cfg)
	if err != nil {
		return err
	}
	if err := controller.Start(ctx); err != nil {
		return err
	}
	runPods(ctx, cfg.TypedClient, func(err error) { log.FromContext(ctx).Error("what runs in pods", "err", err) })
	<-ctx.Done()
	return nil
}

func kwokConfig(kubeconfig string) (cfg controllers.Config, err error) {
	clients, err := client.NewClientset("", kubeconfig)
	if err != nil {
		return cfg, err
	}
	restConfig, err := clients.ToRESTConfig()
	if err != nil {
		return cfg, err
	}
	if cfg.DynamicClient, err = clients.ToDynamicClient(); err != nil {
		return cfg, err
	}
	if cfg.RESTMapper, err = clients.ToRESTMapper(); err != nil {
		return cfg, err
	}
	if cfg.RESTClient, err = rest.RESTClientFor(restConfig); err != nil {
		return cfg, err
	}
	if cfg.TypedClient, err = kubernetes.NewForConfig(restConfig); err != nil {
		return cfg, err
	}
	if cfg.TypedKwokClient, err = versioned.NewForConfig(restConfig); err != nil {
		return cfg, err
	}
	cfg.ImpersonatingDynamicClient = clients.ToImpersonatingDynamicClient()
	cfg.ImpersonatingTypedClient = clients.ToImpersonatingTypedClient()
	cfg.Clock = clock.RealClock{}
	// One that starts again holds the leases of the one before.
	cfg.ID = "plumb-sandbox"
	cfg.ManageAllNodes = true
	cfg.CIDR = "10.244.0.0/24" // for a node that has no podCIDR of its own
	cfg.NodeLeaseDurationSeconds = 40
	cfg.NodeLeaseParallelism = 4
	cfg.NodePlayStageParallelism = 4
	cfg.PodPlayStageParallelism = 8
	cfg.PodsOnNodeSyncParallelism = 1
	cfg.EnablePodsOnNodeSyncListPager = true
	return cfg, nil
}

// ours are the stages that kwok doesn't have.
//
//go:embed stages/*.yaml
var ours embed.FS

// stages are kwok's for nodes that are ready at once and pods that run at
// once, changed so that a pod's annotations and images can hold it back, and
// ours. How a pod ends, runPods knows.
func stages() (map[internalversion.StageResourceRef][]*internalversion.Stage, error) {
	texts := []string{
		nodestages.DefaultNodeInit,
		heartbeatstages.DefaultNodeHeartbeatWithLease,
		podstages.DefaultPodReady,
		podstages.DefaultPodDelete,
	}
	files, err := fs.Glob(ours, "stages/*.yaml")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		text, err := ours.ReadFile(file)
		if err != nil {
			return nil, err
		}
		texts = append(texts, string(text))
	}

	byKind := map[internalversion.StageResourceRef][]*internalversion.Stage{}
	for _, text := range texts {
		stage, err := config.UnmarshalWithType[*internalversion.Stage](text)
		if err != nil {
			return nil, fmt.Errorf("stage: %w", err)
		}
		if stage.Name == "pod-ready" {
			holdBack(stage)
		}
		byKind[stage.Spec.ResourceRef] = append(byKind[stage.Spec.ResourceRef], stage)
	}
	return byKind, nil
}

// The annotations of a pod that change what becomes of it.
const (
	annotationFail       = "sandbox.plumb.dev/fail"
	annotationNeverReady = "sandbox.plumb.dev/never-ready"
	annotationReadyAfter = "sandbox.plumb.dev/ready-after"
)

// holdBack makes the stage pass over pods that are to fail, never to be ready
// or whose images can't be had, and wait for those that are to be ready later.
func holdBack(podReady *internalversion.Stage) {
	for _, annotation := range []string{annotationFail, annotationNeverReady} {
		podReady.Spec.Selector.MatchExpressions = append(podReady.Spec.Selector.MatchExpressions, internalversion.MatchExpression{
			JQ: &internalversion.SelectorJQ{
				Key:      annotationKey(annotation),
				Operator: internalversion.SelectorOpNotIn,
				Values:   []string{"true"},
			},
		})
	}
	podReady.Spec.Selector.MatchExpressions = append(podReady.Spec.Selector.MatchExpressions, internalversion.MatchExpression{
		JQ: &internalversion.SelectorJQ{Key: pullable(), Operator: internalversion.SelectorOpIn, Values: []string{"true"}},
	})
	podReady.Spec.Delay = &internalversion.StageDelay{
		DurationFrom: &internalversion.ExpressionFrom{
			JQ: &internalversion.ExpressionJQ{Expression: annotationKey(annotationReadyAfter)},
		},
	}
}

func annotationKey(annotation string) string {
	return fmt.Sprintf(".metadata.annotations[%q]", annotation)
}
