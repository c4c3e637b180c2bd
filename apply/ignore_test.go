package apply_test

import (
	"context"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/ignore"
)

// rules puts the PodTemplate under rules.
func (d *desk) rules(own ignore.Own) {
	d.t.Helper()
	r, err := ignore.Compile(nil, ignore.Options{})
	if err != nil {
		d.t.Fatal(err)
	}
	d.item.Policy.Ignored = r.For(d.item.Object(), d.item.Ref.Namespace, &own)
	d.applier.Policy = func(*unstructured.Unstructured) apply.Policy { return apply.Policy{} }
}

// image is a rule about the image, or about all of the containers.
func image(keep bool) ignore.Own {
	return ignore.Own{Rules: []ignore.Rule{{JQ: []string{".template.spec.containers[].image"}, Apply: keep}}}
}

// change has the item written as another commit has it, however much is known of
// the live one.
func (d *desk) change(live *unstructured.Unstructured, edit func(c map[string]any)) (*apply.Result, error) {
	d.t.Helper()
	u := d.item.Object().DeepCopy()
	list, _, _ := unstructured.NestedFieldNoCopy(u.Object, "template", "spec", "containers")
	edit(list.([]any)[0].(map[string]any))
	d.item.Digest, d.item.Object, d.settled = d.item.Digest+"x", func() *unstructured.Unstructured { return u }, false
	p, _ := apply.Make(apply.Facts{
		Items: []apply.Item{d.item}, Managers: managers,
		Live: func(object.Ref) (apply.Live, bool) {
			return apply.Live{Exists: true, Digest: "before", Object: live}, true
		},
		Policy: func(*unstructured.Unstructured) apply.Policy { return apply.Policy{} },
	})
	d.applier.Settle(p)
	record := apply.Begin(p)
	r := record.All()[0]
	for _, stage := range p.Stages() {
		results := record.Of(stage)
		if err := d.applier.Try(context.Background(), results); err != nil {
			return r, err
		}
		if err := d.applier.Stage(context.Background(), results); err != nil {
			return r, err
		}
	}
	return r, nil
}

const keptImage = "theirs [new] [map[name:ONE value:git] map[name:TWO value:git]] git; the image is rival's"

func TestWhatIsNotAppliedStaysTheirs(t *testing.T) {
	d := newDesk(t)
	d.rules(image(true))
	d.patch("rival", `{"template": {"spec": {"containers": [{"name": "web", "image": "theirs"}]}}}`)
	for name, live := range map[string]*unstructured.Unstructured{"which is known": d.live(), "which has to be read": nil} {
		t.Run(name, func(t *testing.T) {
			d.t = t
			if _, err := d.change(live, func(c map[string]any) { c["args"], c["image"] = []any{"new"}, "newer" }); err != nil {
				t.Fatal(err)
			}
			if d.is(keptImage); !d.settled {
				t.Error("it is not settled")
			}
		})
	}
}

// Between the look and the write somebody else may set the field: then what was
// to be written is not right any more.
func TestWhatIsNotAppliedIsWhatItIsWhenItIsWritten(t *testing.T) {
	d := newDesk(t)
	d.rules(image(true))
	stale := d.live() // where the image is ours
	d.patch("rival", `{"template": {"spec": {"containers": [{"name": "web", "image": "theirs"}]}}}`)
	r, err := d.change(stale, func(c map[string]any) { c["args"] = []any{"new"} })
	if err != nil || r.Did != apply.Written {
		t.Fatalf("%s: %v", r.Did, err)
	}
	d.is(keptImage)
}

// A difference that does not count is no reason to write, whether the object is
// at hand or not. What is applied all the same is, with the next write.
func TestWhatDoesNotCountIsAppliedWithTheRest(t *testing.T) {
	d := newDesk(t)
	d.rules(image(false))
	d.patch("rival", `{"template": {"spec": {"containers": [{"name": "web", "image": "theirs"}]}}}`)
	before := d.live()
	for _, live := range []*unstructured.Unstructured{before, nil} {
		r, err := d.change(live, func(c map[string]any) { c["image"] = "newer" })
		if err != nil || r != nil && r.Did == apply.Written || !d.settled {
			t.Errorf("%+v, %v, settled: %v", r, err, d.settled)
		}
	}
	if is := d.live(); is.GetResourceVersion() != before.GetResourceVersion() {
		t.Error("it was written")
	}
	if _, err := d.change(d.live(), func(c map[string]any) { c["args"] = []any{"new"} }); err != nil {
		t.Fatal(err)
	}
	d.is("newer [new] [map[name:ONE value:git] map[name:TWO value:git]] git; the image is plumb's")
}

// Where a rule has no answer nothing is written, of whatever is known.
func TestARuleWithoutAnAnswerHoldsItsObject(t *testing.T) {
	d := newDesk(t)
	before := d.live()
	for what, own := range map[string]ignore.Own{
		"it has too many":  {Rules: []ignore.Rule{{From: "here", JQ: []string{"repeat(.)"}}}},
		"it can't be read": *ignore.Annotation(map[string]string{ignore.AnnotationKey: "["}, true),
	} {
		d.rules(own)
		for _, live := range []*unstructured.Unstructured{before, nil} {
			r, err := d.change(live, func(c map[string]any) { c["image"] = "newer" })
			f := fault.Of(err)
			if !fault.Is(err, fault.IgnoreFailed) || f.Object != d.item.Ref || (f.Next == fault.Stall) != (what == "it can't be read") || r.Did != apply.Refused {
				t.Errorf("%s: %s, %v", what, r.Did, err)
			}
			if from := map[string]string{"it has too many": `here: "repeat(.)"`, "it can't be read": "annotation plumb.dev/ignore-differences"}[what]; !strings.Contains(err.Error(), from) {
				t.Errorf("%s: the rule is not named: %v", what, err)
			}
		}
		d.item.Ref.Name = "new"
		if _, err := d.change(nil, func(map[string]any) {}); !fault.Is(err, fault.IgnoreFailed) {
			t.Errorf("%s: a new one: %v", what, err)
		}
		d.item.Ref.Name = "a"
	}
	if is := d.live(); is.GetResourceVersion() != before.GetResourceVersion() {
		t.Error("it was written")
	}
}
