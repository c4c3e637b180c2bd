package kustomize

import (
	"reflect"

	"sigs.k8s.io/kustomize/api/builtins"
	"sigs.k8s.io/kustomize/api/types"
)

// plugins are the plugins that are built into Kustomize, and the types that it
// decodes their configurations into. HelmChartInflationGenerator is one too,
// and not here: it starts a program.
var plugins = map[string][]reflect.Type{
	"AnnotationsTransformer":         {reflect.TypeFor[builtins.AnnotationsTransformerPlugin]()},
	"ConfigMapGenerator":             {reflect.TypeFor[builtins.ConfigMapGeneratorPlugin]()},
	"HashTransformer":                {reflect.TypeFor[builtins.HashTransformerPlugin]()},
	"IAMPolicyGenerator":             {reflect.TypeFor[builtins.IAMPolicyGeneratorPlugin]()},
	"ImageTagTransformer":            {reflect.TypeFor[builtins.ImageTagTransformerPlugin]()},
	"LabelTransformer":               {reflect.TypeFor[builtins.LabelTransformerPlugin]()},
	"NamespaceTransformer":           {reflect.TypeFor[builtins.NamespaceTransformerPlugin]()},
	"PatchJson6902Transformer":       {reflect.TypeFor[builtins.PatchJson6902TransformerPlugin]()},
	"PatchStrategicMergeTransformer": {reflect.TypeFor[builtins.PatchStrategicMergeTransformerPlugin]()},
	"PatchTransformer":               {reflect.TypeFor[builtins.PatchTransformerPlugin]()},
	"PrefixSuffixTransformer":        {reflect.TypeFor[builtins.PrefixTransformerPlugin](), reflect.TypeFor[builtins.SuffixTransformerPlugin]()},
	"PrefixTransformer":              {reflect.TypeFor[builtins.PrefixTransformerPlugin]()},
	"ReplacementTransformer":         {reflect.TypeFor[builtins.ReplacementTransformerPlugin]()},
	"ReplicaCountTransformer":        {reflect.TypeFor[builtins.ReplicaCountTransformerPlugin]()},
	"SecretGenerator":                {reflect.TypeFor[builtins.SecretGeneratorPlugin]()},
	"SuffixTransformer":              {reflect.TypeFor[builtins.SuffixTransformerPlugin]()},
	"ValueAddTransformer":            {reflect.TypeFor[builtins.ValueAddTransformerPlugin]()},
}

// pluginHead is what a configuration has beside the fields of its plugin.
var pluginHead = reflect.TypeFor[struct {
	types.TypeMeta `json:",inline"`
	Metadata       types.ObjectMeta `json:"metadata"`
}]()
