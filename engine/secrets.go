package engine

import (
	"encoding/base64"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/secret"
)

// secretsOf returns what nothing that is told of u may quote: the variables that
// Secrets fill, wherever they end up, and what the Secrets among its objects
// hold. They are looked for when they are first asked for.
func secretsOf(u Unit, items []apply.Item) func() *secret.Values {
	return sync.OnceValue(func() *secret.Values {
		var texts []string
		for _, r := range u.Renders {
			texts = append(texts, r.Secrets()...)
		}
		for _, it := range items {
			if it.Ref.Kind != "Secret" || it.Ref.Group != "" {
				continue
			}
			texts = append(texts, contents(it.Object())...)
		}
		return secret.New(texts...)
	})
}

// contents are the values of a Secret, as they are and as they are written.
func contents(o *unstructured.Unstructured) (texts []string) {
	if !object.IsSecret(o) {
		return nil
	}
	for field, encoded := range map[string]bool{"data": true, "stringData": false} {
		values, _ := o.Object[field].(map[string]any)
		for _, v := range values {
			text, ok := v.(string)
			if !ok {
				continue // it was refused when it was rendered
			}
			texts = append(texts, text)
			if raw, err := base64.StdEncoding.DecodeString(text); encoded && err == nil {
				texts = append(texts, string(raw))
			}
		}
	}
	return texts
}
