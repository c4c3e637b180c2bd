package kustomize

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/resource"
)

// objects returns what Kustomize has built.
func objects(m resmap.ResMap) ([]*unstructured.Unstructured, error) {
	all := make([]*unstructured.Unstructured, m.Size())
	for i, r := range m.Resources() {
		var err error
		if all[i], err = decode(r); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// decode returns what r.MarshalJSON decodes to, without the three texts that
// it takes to get there.
func decode(r *resource.Resource) (*unstructured.Unstructured, error) {
	v, err := value(r.YNode())
	if err != nil {
		return nil, err
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s is not a mapping", r.CurId())
	}
	return &unstructured.Unstructured{Object: m}, nil
}

func value(n *yaml.Node) (any, error) {
	switch n.Kind {
	case yaml.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			v, err := value(n.Content[i+1])
			if err != nil {
				return nil, err
			}
			m[n.Content[i].Value] = v
		}
		if 2*len(m) != len(n.Content) {
			return nil, fmt.Errorf("a mapping with keys %s has one of them twice", slices.Sorted(maps.Keys(m)))
		}
		return m, nil
	case yaml.SequenceNode:
		l := make([]any, len(n.Content))
		for i, c := range n.Content {
			v, err := value(c)
			if err != nil {
				return nil, err
			}
			l[i] = v
		}
		return l, nil
	case yaml.ScalarNode:
		if n.ShortTag() == "!!str" {
			return n.Value, nil
		}
	}
	var v any
	if err := n.Decode(&v); err != nil {
		return nil, err
	}
	return number(v)
}

// number gives a scalar the type that it has after JSON, where 1.0 is 1 and a
// time is text.
func number(v any) (any, error) {
	switch x := v.(type) {
	case nil, string, bool:
		return x, nil
	case int:
		return int64(x), nil
	case float64:
		if x == math.Trunc(x) && math.Abs(x) < 1<<63 {
			return int64(x), nil
		}
		return x, nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var out any
	return out, utiljson.Unmarshal(b, &out)
}
