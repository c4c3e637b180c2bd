package watch

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/object"
)

// wide is a stream of a namespace, on a server that answers as ask does.
func wide(ctx context.Context, ask lister) (s *stream, follow func(name string) *following, told *atomic.Int32) {
	told = &atomic.Int32{}
	s = newStream(ctx, streamKey{resource: configMaps, namespace: "shop"}, func(string) { told.Add(1) }, func(*stream) {})
	s.ask = ask
	return s, func(name string) *following {
		f := &following{
			Ref:    object.Ref{Kind: "ConfigMap", Namespace: "shop", Name: name},
			view:   &view{unit: "unit-" + name, Managers: managers},
			stream: s,
		}
		s.join(f, nil)
		return f
	}, told
}

// answers gives one list to every question.
func answers(version string, items ...*unstructured.Unstructured) lister {
	return func(context.Context, string, metav1.ListOptions) (*unstructured.UnstructuredList, error) {
		l := &unstructured.UnstructuredList{}
		l.SetResourceVersion(version)
		for _, o := range items {
			l.Items = append(l.Items, *o.DeepCopy())
		}
		return l, nil
	}
}

// listed is how the reflector passes a list on.
func listed(t *testing.T, s *stream, objects ...*unstructured.Unstructured) (list []any) {
	t.Helper()
	for _, o := range objects {
		x, err := s.Transformer()(o)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, x)
	}
	return list
}

func TestOfWhatNobodyFollowsOnlyTheNameIsListed(t *testing.T) {
	s, follow, _ := wide(t.Context(), nil)
	other := cm(6, "x", "")
	other.SetName("other")
	f := follow("a")
	list := listed(t, s, cm(5, "x", ""), other)
	if _, ok := list[1].(*metav1.ObjectMeta); !ok {
		t.Errorf("of the other object there is %T", list[1])
	}
	_ = s.Replace(list, "10")
	if l, known := s.live(f); !known || l.Object == nil {
		t.Errorf("what is followed is %+v, known %v", l, known)
	}
	if len(s.records) != 1 || len(s.strangers.names) != 1 || len(s.strangers.held) != 0 {
		t.Errorf("there are %d records and %d strangers", len(s.records), len(s.strangers.names))
	}
	// Without watch-lists it is the same.
	l := &unstructured.UnstructuredList{Items: []unstructured.Unstructured{*cm(5, "x", ""), *other}}
	s.slimList(l)
	if l.Items[0].GetKind() == "" || l.Items[1].GetKind() != "" || l.Items[1].GetName() != "other" {
		t.Errorf("the list is %v", l.Items)
	}
}

func TestWhatWasListedBeforeItWasFollowedIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, follow, told := wide(t.Context(), answers("20", cm(5, "x", "")))
		list := listed(t, s, cm(5, "x", ""))
		f := follow("a")
		_ = s.Replace(list, "10")
		if l, known := s.live(f); known {
			t.Errorf("before it has been seen it is %+v", l)
		}
		before := told.Load()
		synctest.Wait()
		if l, known := s.live(f); !known || !l.Exists || l.Object == nil {
			t.Errorf("it is %+v, known %v", l, known)
		}
		if told.Load() == before {
			t.Error("nobody was told")
		}
	})
}

func TestWhatIsAskedForMayBeGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, follow, _ := wide(t.Context(), answers("20"))
		_ = s.Replace(listed(t, s, cm(5, "x", "")), "10")
		f := follow("a")
		synctest.Wait()
		if l, known := s.live(f); !known || l.Exists {
			t.Errorf("it is %+v, known %v", l, known)
		}
	})
}

// Of an object that is as its units want it, little is kept: not enough for who
// looks at it in another way from now on.
func TestWhoLooksInAnotherWayIsShownTheObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		asked := 0
		w.ask = func(ctx context.Context, ns string, o metav1.ListOptions) (*unstructured.UnstructuredList, error) {
			asked++
			return answers("20", cm(5, "x", ""))(ctx, ns, o)
		}
		_ = w.Replace([]any{cm(5, "x", "")}, "10")
		w.settle(w.f, "digest", cm(5, "x", ""), true)
		if l := w.now(t); l.Object != nil || !l.Settled {
			t.Fatalf("it is %+v", l)
		}
		other := *w.f.view
		other.Judge = &away{}
		f := &following{Ref: w.f.Ref, view: &other, stream: w.stream}
		w.join(f, nil)
		synctest.Wait()
		if l, known := w.live(f); !known || l.Object == nil || l.Health.Message != "" {
			t.Errorf("it is %+v, known %v", l, known)
		}
		if asked != 1 {
			t.Errorf("it was asked for %d times", asked)
		}
		if l := w.now(t); !l.Settled {
			t.Errorf("to who knew it, it is %+v", l)
		}
	})
}

// An event may come while the answer is on its way, and be newer.
func TestAnAnswerThatIsOlderThanAnEventCountsForNothing(t *testing.T) {
	for name, event := range map[string]func(*stream){
		"it is deleted": func(s *stream) { _ = s.Delete(cm(30, "y", "")) },
		"it is changed": func(s *stream) { _ = s.Update(cm(30, "y", "")) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				answer := make(chan bool)
				s, follow, _ := wide(t.Context(), func(ctx context.Context, ns string, o metav1.ListOptions) (*unstructured.UnstructuredList, error) {
					<-answer
					return answers("20", cm(5, "x", ""))(ctx, ns, o)
				})
				_ = s.Replace(listed(t, s, cm(5, "x", "")), "10")
				f := follow("a")
				synctest.Wait()
				event(s)
				close(answer)
				synctest.Wait()
				l, known := s.live(f)
				if deleted := name == "it is deleted"; !known || l.Exists == deleted {
					t.Fatalf("it is %+v, known %v", l, known)
				}
				if l.Exists && l.Object.Object["data"].(map[string]any)["v"] != "y" {
					t.Errorf("it is %v", l.Object.Object)
				}
			})
		})
	}
}

func TestAServerThatDoesNotAnswerIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		s, follow, _ := wide(t.Context(), func(ctx context.Context, ns string, o metav1.ListOptions) (*unstructured.UnstructuredList, error) {
			if asked++; asked < 5 {
				return nil, errors.New("no answer")
			}
			return answers("20", cm(5, "x", ""))(ctx, ns, o)
		})
		_ = s.Replace(listed(t, s, cm(5, "x", "")), "10")
		f := follow("a")
		time.Sleep(time.Hour)
		if l, known := s.live(f); !known || !l.Exists || asked != 5 {
			t.Errorf("after %d questions it is %+v, known %v", asked, l, known)
		}
	})
}

// A stream takes the place of another only when it has seen as much.
func TestAStreamThatLagsBehindDoesNotTakeTheOthersPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w := newWatch(ctx, nil, nil, func(string) {})
		old := newStream(ctx, streamKey{resource: configMaps, namespace: "shop", name: "a"}, w.notify, w.shows)
		next := newStream(ctx, streamKey{resource: configMaps, namespace: "shop"}, w.notify, w.shows)
		next.ask = answers("50", cm(40, "y", ""))
		w.streams[old.key], w.streams[next.key] = old, next
		target := Target{Ref: object.Ref{Kind: "ConfigMap", Namespace: "shop", Name: "a"}, Version: "v1", Managers: managers}
		w.mu.Lock()
		f := w.join(target.Ref, configMaps, follows(nil).view("unit", target), nil)
		w.units["unit"] = follows{f}
		w.mu.Unlock()
		_ = old.Replace([]any{cm(40, "y", "")}, "40")
		w.Settle("unit", target.Ref, "digest", cm(40, "y", ""))

		w.mu.Lock()
		w.move(f, next.key)
		w.mu.Unlock()
		_ = next.Replace([]any{cm(5, "x", "")}, "30") // of a server that lags behind
		if l, known := w.Live("unit", target.Ref); !known || !l.Settled {
			t.Errorf("it is %+v, known %v", l, known)
		}
		synctest.Wait()
		if f.stream != next || len(w.streams) != 1 {
			t.Errorf("it is in %v, of %d streams", f.stream.key, len(w.streams))
		}
		if l, known := w.Live("unit", target.Ref); !known || !l.Settled || l.Digest != "digest" {
			t.Errorf("after the move it is %+v, known %v", l, known)
		}
	})
}

func TestManyAreFoundPageByPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var questions []string
		s, follow, _ := wide(t.Context(), func(_ context.Context, ns string, o metav1.ListOptions) (*unstructured.UnstructuredList, error) {
			questions = append(questions, fmt.Sprint(ns, " ", o.FieldSelector, o.Limit, o.Continue))
			l, _ := answers("20")(t.Context(), ns, o)
			at := 0
			_, _ = fmt.Sscan(o.Continue, &at)
			for i := range 20 {
				c := cm(6, "x", "")
				c.SetName(fmt.Sprint("c", at+i))
				l.Items = append(l.Items, *c)
			}
			if at+20 < 60 {
				l.SetContinue(fmt.Sprint(at + 20))
			}
			return l, nil
		})
		var objects []*unstructured.Unstructured
		for i := range 70 {
			c := cm(5, "x", "")
			c.SetName(fmt.Sprint("c", i))
			objects = append(objects, c)
		}
		list := listed(t, s, objects...)
		var all []*following
		for i := range 70 {
			all = append(all, follow(fmt.Sprint("c", i)))
		}
		_ = s.Replace(list, "10")
		synctest.Wait()
		if len(questions) != 3 {
			t.Errorf("it asked %v", questions)
		}
		for i, f := range all {
			if l, known := s.live(f); !known || l.Exists != (i < 60) {
				t.Errorf("c%d is %+v, known %v", i, l, known)
			}
		}
	})
}

// What a list of labelled objects lacks is gone from there as of the list, which
// is later than anything that the object itself says.
func TestWhatHasLostItsLabelIsFoundByItsName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w := newWatch(ctx, nil, nil, func(string) {})
		old := newStream(ctx, streamKey{resource: configMaps, selector: "label"}, w.notify, w.shows)
		next := newStream(ctx, streamKey{resource: configMaps, namespace: "shop", name: "a"}, w.notify, w.shows)
		asked := 0
		next.ask = func(ctx context.Context, ns string, o metav1.ListOptions) (*unstructured.UnstructuredList, error) {
			if asked++; asked > 10 {
				<-ctx.Done()
			}
			return answers("70", cm(58, "x", ""))(ctx, ns, o)
		}
		w.streams[old.key], w.streams[next.key] = old, next
		target := Target{Ref: object.Ref{Kind: "ConfigMap", Namespace: "shop", Name: "a"}, Version: "v1", Scope: Scope{Selector: "label"}, Managers: managers}
		follow := func() {
			t.Helper()
			if err := w.Follow(ctx, "unit", []Target{target}); err != nil {
				t.Fatal(err)
			}
		}
		w.mu.Lock()
		w.units["unit"] = follows{w.join(target.Ref, configMaps, follows(nil).view("unit", target), nil)}
		w.mu.Unlock()
		follow()
		_ = old.Replace([]any{cm(40, "x", "")}, "40")
		_ = old.Replace(nil, "61")
		target.Scope = Scope{}
		w.mu.Lock()
		w.units["unit"] = follows{w.rescope(w.units["unit"][0], follows(nil).view("unit", target))}
		w.arrange(configMaps)
		w.unlock()
		follow()
		_ = next.Replace([]any{cm(58, "x", "")}, "65")
		synctest.Wait()
		if l, known := w.Live("unit", target.Ref); !known || !l.Exists || asked > 1 {
			t.Errorf("after %d questions it is %+v, known %v", asked, l, known)
		}
	})
}
