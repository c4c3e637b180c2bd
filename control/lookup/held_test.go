package lookup

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	kubetesting "k8s.io/client-go/testing"

	"plumb.dev/plumb/fault"
)

// A desk is a reader of a namespace with one Secret and one ConfigMap: client-go's
// own fake does not select by name.
type desk struct {
	*testing.T
	*Reader
	client *fake.Clientset

	mu    sync.Mutex
	woken []string
}

func newDesk(t *testing.T, objects ...runtime.Object) *desk {
	d := &desk{T: t, client: fake.NewClientset(objects...)}
	d.Reader = New(t.Context(), d.client, func(owner string) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.woken = append(d.woken, owner)
	})
	return d
}

// shut has the server answer only after open.
func (d *desk) shut() (open func()) {
	gate := make(chan struct{})
	d.client.PrependReactor("list", "*", func(kubetesting.Action) (bool, runtime.Object, error) {
		<-gate
		return false, nil, nil
	})
	d.client.PrependWatchReactor("*", func(kubetesting.Action) (bool, watch.Interface, error) {
		<-gate
		return false, nil, nil
	})
	return sync.OnceFunc(func() { close(gate) })
}

var (
	aSecret    = Ref{Kind: Secret, Namespace: "x", Name: "a"}
	aConfigMap = Ref{Kind: ConfigMap, Namespace: "x", Name: "a"}
)

func secret(value string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "x", Name: "a"}, Data: map[string][]byte{"k": []byte(value)}}
}

// within waits for who was woken since the last time.
func (d *desk) within(want ...string) {
	d.Helper()
	var got []string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		d.mu.Lock()
		got = slices.Sorted(slices.Values(d.woken))
		if slices.Equal(got, want) {
			d.woken = nil
			d.mu.Unlock()
			return
		}
		d.mu.Unlock()
	}
	d.Fatalf("woken are %v, want %v", got, want)
}

func (d *desk) says(ref Ref, owner, want string) {
	d.Helper()
	data, found, err := d.Begin(owner).Get(ref)
	got := fmt.Sprintf("%v %s", found, data["k"])
	if err != nil {
		got = err.Error()
	}
	if got != want {
		d.Errorf("%s is %q, want %q", ref, got, want)
	}
}

// Who asks is told that it is not known yet, and woken once it is, and with
// every change.
func TestWhatIsReferredToIsFollowed(t *testing.T) {
	d := newDesk(t)
	open := d.shut()
	defer open()
	d.says(aSecret, "one", "Secret/x/a has not been read yet")
	open()
	d.within("one")
	d.says(aSecret, "one", "false ")
	d.says(aSecret, "two", "false ")
	secrets := d.client.CoreV1().Secrets("x")
	if _, err := secrets.Create(t.Context(), secret("1"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	d.within("one", "two")
	d.says(aSecret, "one", "true 1")
	labelled := secret("1")
	labelled.Labels = map[string]string{"new": "label"}
	if _, err := secrets.Update(t.Context(), labelled, metav1.UpdateOptions{}); err != nil { // which is no news
		t.Fatal(err)
	}
	if _, err := secrets.Update(t.Context(), secret("2"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	d.within("one", "two")
	d.says(aSecret, "two", "true 2")
	if err := secrets.Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	d.within("one", "two")
	d.says(aSecret, "one", "false ")
}

// A Secret and a ConfigMap of one name are two.
func TestKindsAreTwo(t *testing.T) {
	d := newDesk(t, secret("s"), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "x", Name: "a"}, Data: map[string]string{"k": "c"}, BinaryData: map[string][]byte{"b": {0}},
	})
	open := d.shut()
	defer open()
	s := d.Begin("one")
	for _, ref := range []Ref{aSecret, aConfigMap} {
		if _, _, err := s.Get(ref); !fault.Is(err, fault.Progressing) || fault.Of(err).Next != fault.Wait {
			t.Error(err)
		}
	}
	s.End()
	open()
	d.within("one", "one")
	d.says(aSecret, "one", "true s")
	d.says(aConfigMap, "one", "true c")
}

// What nobody refers to any more is not watched, and what somebody else does is.
func TestWhatIsNotReferredToIsLetGo(t *testing.T) {
	d := newDesk(t, secret("1"))
	look := func(owner string, refs ...Ref) {
		s := d.Begin(owner)
		for _, r := range refs {
			s.Get(r)
		}
		s.End()
	}
	held := func(want ...Ref) {
		t.Helper()
		d.Reader.mu.Lock()
		defer d.Reader.mu.Unlock()
		if len(d.held) != len(want) {
			t.Errorf("held are %v, want %v", d.held, want)
		}
		for _, r := range want {
			if d.held[r] == nil {
				t.Errorf("%s is not held", r)
			}
		}
	}
	look("one", aSecret, aConfigMap)
	look("two", aSecret)
	held(aSecret, aConfigMap)
	look("one", aConfigMap)
	held(aSecret, aConfigMap)
	d.Forget("two")
	held(aConfigMap)
	d.Forget("two") // again
	d.Forget("nobody")
	look("one")
	held()
	if len(d.owners) != 0 {
		t.Errorf("owners are %v", d.owners)
	}
}

// With the last who refers to it, the watch ends.
func TestAWatchEndsWithTheLastWhoNeedsIt(t *testing.T) {
	d := newDesk(t, secret("1"))
	watches := make(chan *watch.FakeWatcher, 10)
	d.client.PrependWatchReactor("secrets", func(kubetesting.Action) (bool, watch.Interface, error) {
		w := watch.NewFake()
		watches <- w
		return true, w, nil
	})
	d.Begin("one").Get(aSecret)
	d.within("one")
	d.Begin("two").Get(aSecret)
	var w *watch.FakeWatcher
	select {
	case w = <-watches:
	case <-time.After(time.Minute):
		t.Fatal("it is not watched")
	}
	d.Forget("one")
	if w.IsStopped() {
		t.Error("it ends while somebody needs it")
	}
	d.Forget("two")
	for deadline := time.Now().Add(20 * time.Second); !w.IsStopped(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it goes on")
		}
	}
}

// A look that has not ended keeps what the one before referred to.
func TestALookThatGoesOnKeepsAll(t *testing.T) {
	d := newDesk(t, secret("1"))
	s := d.Begin("one")
	s.Get(aSecret)
	s.End()
	next := d.Begin("one")
	next.Get(aConfigMap)
	if len(d.held) != 2 {
		t.Errorf("held are %v", d.held)
	}
	next.End()
	if len(d.held) != 1 || d.held[aConfigMap] == nil {
		t.Errorf("then held are %v", d.held)
	}
}

// Who peeks has nothing watched.
func TestAPeekWatchesNothing(t *testing.T) {
	d := newDesk(t, secret("1"))
	if _, _, err := d.Peek().Get(aSecret); !fault.Is(err, fault.Progressing) {
		t.Error(err)
	}
	if len(d.held) != 0 || len(d.owners) != 0 {
		t.Error("it is watched")
	}
	d.Begin("one").Get(aSecret)
	d.within("one")
	if got, found, err := d.Peek().Get(aSecret); string(got["k"]) != "1" || !found || err != nil {
		t.Errorf("%s, %v, %v", got["k"], found, err)
	}
}

// What can't be read is said once, and is no reason to think that it is not
// there; what was read before stays so.
func TestWhatCannotBeReadIsToldOnce(t *testing.T) {
	d := newDesk(t)
	var mu sync.Mutex
	why := errors.New("forbidden")
	asked := make(chan struct{}, 1000)
	refuse := func(kubetesting.Action) (bool, runtime.Object, error) {
		mu.Lock()
		defer mu.Unlock()
		asked <- struct{}{}
		return why != nil, nil, why
	}
	d.client.PrependReactor("list", "secrets", refuse)
	mu.Lock() // no answer yet
	d.says(aSecret, "one", "Secret/x/a has not been read yet")
	mu.Unlock()
	for range 3 { // the third is asked once the second was told of
		select {
		case <-asked:
		case <-time.After(time.Minute):
			t.Fatal("it is not asked for again")
		}
	}
	d.within("one")
	data, found, err := d.Begin("one").Get(aSecret)
	if f := fault.Of(err); err == nil || err.Error() != "read Secret/x/a: forbidden" || f.Next != fault.Retry || found || data != nil {
		t.Errorf("%v, %v", found, err)
	}
	mu.Lock()
	why = nil
	mu.Unlock()
	d.within("one")
	d.says(aSecret, "one", "false ")
}

func TestSameData(t *testing.T) {
	a := func(pairs ...string) map[string][]byte {
		m := map[string][]byte{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = []byte(pairs[i+1])
		}
		return m
	}
	for name, c := range map[string]struct {
		a, b map[string][]byte
		same bool
	}{
		"nothing twice":                          {nil, nil, true},
		"what is empty is not what is not there": {nil, a(), false},
		"the other way round":                    {a(), nil, false},
		"the same":                               {a("k", "v"), a("k", "v"), true},
		"another value":                          {a("k", "v"), a("k", "w"), false},
		"another key":                            {a("k", ""), a("l", ""), false},
		"one more":                               {a("k", "v"), a("k", "v", "l", ""), false},
	} {
		if sameData(c.a, c.b) != c.same {
			t.Error(name)
		}
	}
}

func TestWhatIsReadOfAnObject(t *testing.T) {
	for name, c := range map[string]struct {
		o    any
		want map[string][]byte
	}{
		"a Secret":     {secret("v"), map[string][]byte{"k": []byte("v")}},
		"an empty one": {&corev1.Secret{}, map[string][]byte{}},
		"a ConfigMap":  {&corev1.ConfigMap{Data: map[string]string{"a": "1"}, BinaryData: map[string][]byte{"b": {0xff}}}, map[string][]byte{"a": []byte("1"), "b": {0xff}}},
		"an account's Secrets": {
			&corev1.ServiceAccount{ImagePullSecrets: []corev1.LocalObjectReference{{Name: "b"}, {Name: "a"}}, Secrets: []corev1.ObjectReference{{Name: "c"}}},
			map[string][]byte{PullSecrets: []byte("b\na")},
		},
		"an account without":     {&corev1.ServiceAccount{}, map[string][]byte{PullSecrets: {}}},
		"anything else is empty": {&corev1.Pod{}, map[string][]byte{}},
	} {
		if diff := cmp.Diff(c.want, dataOf(c.o)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}
