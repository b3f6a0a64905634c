package store_test

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	clienttesting "k8s.io/client-go/testing"

	"github.com/penstock-dev/penstock/controllers/store"
)

var (
	configMapName = types.NamespacedName{Namespace: "penstock", Name: "weight"}
	configMaps    = corev1.SchemeGroupVersion.WithResource("configmaps")
)

// newKube returns a clientset that counts resourceVersions and refuses an update of any but the newest one, as the API server does; the fake alone takes
// every update. An update without a resourceVersion, which the API server takes, is refused as well: it would overwrite what others write.
func newKube() *fake.Clientset {
	kube := fake.NewClientset()
	version := 0
	// The clientset holds its lock while it calls reactors.
	write := func(action clienttesting.Action, object runtime.Object, store func(schema.GroupVersionResource, runtime.Object, string) error) (bool, runtime.Object, error) {
		version++
		configMap := object.(*corev1.ConfigMap)
		configMap.Namespace, configMap.ResourceVersion = action.GetNamespace(), strconv.Itoa(version)
		return true, configMap.DeepCopy(), store(configMaps, configMap, action.GetNamespace())
	}
	kube.PrependReactor("create", "configmaps", func(action clienttesting.Action) (bool, runtime.Object, error) {
		return write(action, action.(clienttesting.CreateAction).GetObject(), func(r schema.GroupVersionResource, o runtime.Object, ns string) error {
			return kube.Tracker().Create(r, o, ns)
		})
	})
	kube.PrependReactor("update", "configmaps", func(action clienttesting.Action) (bool, runtime.Object, error) {
		object := action.(clienttesting.UpdateAction).GetObject().(*corev1.ConfigMap)
		stored, err := kube.Tracker().Get(configMaps, action.GetNamespace(), object.Name)
		if err != nil {
			return true, nil, err
		}
		if newest := stored.(*corev1.ConfigMap).ResourceVersion; object.ResourceVersion != newest {
			return true, nil, apierrors.NewConflict(configMaps.GroupResource(), object.Name, errors.New("the newest is "+newest+", not "+object.ResourceVersion))
		}
		return write(action, object, func(r schema.GroupVersionResource, o runtime.Object, ns string) error {
			return kube.Tracker().Update(r, o, ns)
		})
	})
	return kube
}

func configMapStore(t *testing.T, kube kubernetes.Interface, opts store.Options) *store.ConfigMap {
	t.Helper()
	s, err := store.NewConfigMap(kube, configMapName, cluster, opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newConfigMap(t *testing.T) subject {
	t.Helper()
	kube := newKube()
	return subject{
		Store: configMapStore(t, kube, store.Options{}),
		again: func(t *testing.T) store.Store { t.Helper(); return configMapStore(t, kube, store.Options{}) },
		put: func(t *testing.T, attributes map[string]string) bool {
			t.Helper()
			putData(t, kube, attributes)
			return true
		},
		attributes: func(t *testing.T) map[string]string { t.Helper(); return getConfigMap(t, kube).Data },
	}
}

func getConfigMap(t *testing.T, kube kubernetes.Interface) *corev1.ConfigMap {
	t.Helper()
	configMap, err := kube.CoreV1().ConfigMaps(configMapName.Namespace).Get(t.Context(), configMapName.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return configMap
}

// putData writes the ConfigMap as people do, over what is there.
func putData(t *testing.T, kube kubernetes.Interface, data map[string]string) {
	t.Helper()
	client := kube.CoreV1().ConfigMaps(configMapName.Namespace)
	configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: configMapName.Namespace, Name: configMapName.Name}, Data: maps.Clone(data)}
	_, err := client.Create(t.Context(), configMap, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		configMap = getConfigMap(t, kube)
		configMap.Data = maps.Clone(data)
		_, err = client.Update(t.Context(), configMap, metav1.UpdateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestConfigMapKeepsOthers(t *testing.T) {
	t.Parallel()
	kube := newKube()
	s := configMapStore(t, kube, store.Options{})
	if err := s.Create(t.Context(), store.Row{DesiredWeight: 50}); err != nil {
		t.Fatal(err)
	}
	configMap := getConfigMap(t, kube)
	if got := configMap.Labels; !maps.Equal(got, map[string]string{"app.kubernetes.io/managed-by": "penstock"}) {
		t.Errorf("labels %v", got)
	}
	configMap.Labels = map[string]string{"app.kubernetes.io/managed-by": "Helm", "team": "a"}
	configMap.Annotations = map[string]string{"note": "b"}
	configMap.Data["Comment"], configMap.BinaryData = "c", map[string][]byte{"Binary": {0xff}}
	configMap.Data["DesiredWeight"] = " 60\n"
	configMap, err := kube.CoreV1().ConfigMaps(configMapName.Namespace).Update(t.Context(), configMap, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	row := read(t, s)
	next := row
	next.CurrentWeight = 60
	if err := s.Acknowledge(t.Context(), row, next); err != nil {
		t.Fatal(err)
	}
	want := configMap.DeepCopy()
	want.Data["CurrentWeight"] = "60"
	got := getConfigMap(t, kube)
	got.ResourceVersion, got.ManagedFields = want.ResourceVersion, want.ManagedFields
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("an acknowledgement writes CurrentWeight, and leaves what people wrote as they wrote it: -want +got:\n%s", diff)
	}
	if err := s.Desire(t.Context(), 70); err != nil {
		t.Fatal(err)
	}
	want.Data["DesiredWeight"] = "70"
	got = getConfigMap(t, kube)
	got.ResourceVersion, got.ManagedFields = want.ResourceVersion, want.ManagedFields
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Desire writes DesiredWeight only: -want +got:\n%s", diff)
	}
}

func TestConfigMapOfAnotherCluster(t *testing.T) {
	t.Parallel()
	kube := newKube()
	putData(t, kube, map[string]string{"ClusterName": "west", "DesiredWeight": "50"})
	before := getConfigMap(t, kube)
	s := configMapStore(t, kube, store.Options{})
	_, err := s.Read(t.Context())
	for _, err := range []error{
		err, s.Create(t.Context(), store.Row{DesiredWeight: 50}), s.Desire(t.Context(), 60),
		s.Acknowledge(t.Context(), store.Row{DesiredWeight: 50}, store.Row{CurrentWeight: 50}),
	} {
		wantError(t, err, store.ErrInvalid, `"west"`, `"east"`, configMapName.String(), "of its own")
	}
	if diff := cmp.Diff(before, getConfigMap(t, kube)); diff != "" {
		t.Errorf("it was changed: -want +got:\n%s", diff)
	}
	putData(t, kube, map[string]string{"DesiredWeight": "50"})
	wantRow(t, s, "one without a name is the cluster's", store.Row{ClusterName: cluster, DesiredWeight: 50, CurrentWeight: store.Unknown})
	putData(t, kube, nil)
	if err := s.Desire(t.Context(), 60); err != nil {
		t.Fatal(err)
	}
	wantRow(t, s, "an empty one too", store.Row{ClusterName: cluster, DesiredWeight: 60, CurrentWeight: store.Unknown})
}

// What changes between the read and the update of an acknowledgement.
func TestConfigMapConflicts(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason  string
		change  map[string]string
		always  bool
		wantErr error
		updates int
	}{
		"Others":  {reason: "somebody else's key is no conflict", change: map[string]string{"Comment": "c"}, updates: 2},
		"Desired": {reason: "people want something else", change: map[string]string{"DesiredWeight": "60"}, wantErr: store.ErrConflict, updates: 1},
		"Same": {
			reason: "another controller has written the very same", change: map[string]string{"CurrentWeight": "30"}, wantErr: store.ErrConflict, updates: 1,
		},
		"Always": {reason: "it ends when others never stop", change: map[string]string{"Comment": "c"}, always: true, wantErr: store.ErrConflict},
	}
	for name, tc := range cases {
		inBubble(t, name, func(t *testing.T) {
			t.Helper()
			kube := newKube()
			s := configMapStore(t, kube, store.Options{})
			row := created(t, subject{Store: s, put: func(*testing.T, map[string]string) bool { return true }})
			updates := 0
			kube.PrependReactor("update", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
				updates++
				if updates > 1 && !tc.always {
					return false, nil, nil
				}
				object, err := kube.Tracker().Get(configMaps, configMapName.Namespace, configMapName.Name)
				if err != nil {
					return true, nil, err
				}
				theirs := object.DeepCopyObject().(*corev1.ConfigMap)
				maps.Copy(theirs.Data, tc.change)
				theirs.ResourceVersion += "0"
				return false, nil, kube.Tracker().Update(configMaps, theirs, configMapName.Namespace)
			})
			next := row
			next.CurrentWeight = 30
			from := time.Now()
			err := s.Acknowledge(t.Context(), row, next)
			if !errors.Is(err, tc.wantErr) || updates != tc.updates && !tc.always {
				t.Errorf("%s: error %v after %d updates, want %v after %d", tc.reason, err, updates, tc.wantErr, tc.updates)
			}
			if took := time.Since(from); tc.always && (took < 5*time.Second || took > 10*time.Second || updates > 50) {
				t.Errorf("%s: %d updates in %s, and a call may last 10s", tc.reason, updates, took)
			}
			data := getConfigMap(t, kube).Data
			for key, value := range tc.change {
				if data[key] != value {
					t.Errorf("%s: lost in %v", tc.reason, data)
				}
			}
			if want := "30"; tc.wantErr == nil && data["CurrentWeight"] != want {
				t.Errorf("%s: not written in %v", tc.reason, data)
			}
		})
	}
}

// inBubble runs a subtest whose pauses pass at once.
func inBubble(t *testing.T, name string, test func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, test)
	})
}

// crowd is an API server with one ConfigMap that takes a moment for each call, so that calls meet.
type crowd struct {
	*oneKube

	mu sync.Mutex // guards the ConfigMap
}

func (k *crowd) CoreV1() corev1client.CoreV1Interface {
	return crowdCore{CoreV1Interface: k.oneKube.CoreV1(), crowd: k}
}

type crowdCore struct {
	corev1client.CoreV1Interface

	crowd *crowd
}

func (c crowdCore) ConfigMaps(namespace string) corev1client.ConfigMapInterface {
	return crowdConfigMaps{c.CoreV1Interface.ConfigMaps(namespace), c.crowd}
}

type crowdConfigMaps struct {
	corev1client.ConfigMapInterface

	crowd *crowd
}

func (m crowdConfigMaps) Get(ctx context.Context, name string, options metav1.GetOptions) (*corev1.ConfigMap, error) {
	<-time.After(time.Millisecond) // the bubble's time
	m.crowd.mu.Lock()
	defer m.crowd.mu.Unlock()
	return m.ConfigMapInterface.Get(ctx, name, options)
}

func (m crowdConfigMaps) Update(ctx context.Context, configMap *corev1.ConfigMap, options metav1.UpdateOptions) (*corev1.ConfigMap, error) {
	<-time.After(time.Millisecond)
	m.crowd.mu.Lock()
	defer m.crowd.mu.Unlock()
	if configMap.ResourceVersion != m.crowd.configMap.ResourceVersion {
		return nil, apierrors.NewConflict(configMaps.GroupResource(), configMap.Name, nil)
	}
	configMap = configMap.DeepCopy()
	configMap.ResourceVersion += "0"
	return m.ConfigMapInterface.Update(ctx, configMap, options)
}

// Many write one ConfigMap at once, as a program that sets the weights of a fleet and those who keep other keys in it: all get through.
func TestConfigMapCrowd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		kube := &crowd{oneKube: &oneKube{configMap: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "1"}, Data: map[string]string{"DesiredWeight": "50"}}}}
		const writers = 16
		errs := make([]error, writers)
		var all sync.WaitGroup
		for i := range writers {
			all.Go(func() { errs[i] = configMapStore(t, kube, store.Options{}).Desire(t.Context(), i) })
		}
		all.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Error(err)
		}
		if got := len(kube.configMap.ResourceVersion) - 1; got != writers {
			t.Errorf("%d writes, want %d", got, writers)
		}
	})
}

func TestConfigMapErrors(t *testing.T) {
	t.Parallel()
	resource := configMaps.GroupResource()
	cases := map[string]struct {
		reason, verb string
		err          error
		call         func(context.Context, *store.ConfigMap) error
		says         []string
		not          error
	}{
		"GetForbidden": {
			reason: "the role is not bound", verb: "get", err: apierrors.NewForbidden(resource, configMapName.Name, nil),
			call: func(ctx context.Context, s *store.ConfigMap) error { _, err := s.Read(ctx); return err }, says: []string{"allow the verb get on configmaps", "penstock/weight"},
			not: store.ErrNotFound,
		},
		"CreateForbidden": {
			reason: "the role lacks a verb", verb: "create", err: apierrors.NewForbidden(resource, configMapName.Name, nil),
			call: func(ctx context.Context, s *store.ConfigMap) error { return s.Create(ctx, store.Row{}) }, says: []string{"allow the verb create"}, not: store.ErrNotFound,
		},
		"UpdateForbidden": {
			reason: "the role lacks a verb", verb: "update", err: apierrors.NewForbidden(resource, configMapName.Name, nil),
			call: func(ctx context.Context, s *store.ConfigMap) error { return s.Desire(ctx, 60) }, says: []string{"allow the verb update"}, not: store.ErrConflict,
		},
		"NoNamespace": {
			reason: "ErrNotFound would ask for Create again", verb: "create",
			err:  apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, configMapName.Namespace),
			call: func(ctx context.Context, s *store.ConfigMap) error { return s.Create(ctx, store.Row{}) }, says: []string{"namespace does not exist"}, not: store.ErrNotFound,
		},
		"Unavailable": {
			reason: "the API server is down", verb: "update", err: apierrors.NewGenericServerResponse(http.StatusServiceUnavailable, "put", resource, "weight", "", 1, true),
			call: func(ctx context.Context, s *store.ConfigMap) error { return s.Desire(ctx, 60) }, says: []string{"update configmap penstock/weight"}, not: store.ErrConflict,
		},
		"Deleted": {
			reason: "deleted between the read and the update", verb: "update", err: apierrors.NewNotFound(resource, configMapName.Name),
			call: func(ctx context.Context, s *store.ConfigMap) error {
				return s.Acknowledge(ctx, store.Row{DesiredWeight: 50, CurrentWeight: store.Unknown}, store.Row{CurrentWeight: 50})
			}, says: []string{store.ErrConflict.Error(), store.ErrNotFound.Error()}, not: store.ErrInvalid,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kube := newKube()
			if tc.verb == "update" {
				putData(t, kube, map[string]string{"DesiredWeight": "50"})
			}
			kube.PrependReactor(tc.verb, "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, tc.err })
			err := tc.call(t.Context(), configMapStore(t, kube, store.Options{}))
			wantError(t, err, tc.err, tc.says...)
			if errors.Is(err, tc.not) {
				t.Errorf("%s: %v is %v", tc.reason, err, tc.not)
			}
		})
	}
}

// A call without an answer ends with CallTimeout.
func TestConfigMapDeadline(t *testing.T) {
	t.Parallel()
	s := configMapStore(t, &hangingKube{Interface: fake.NewClientset()}, store.Options{CallTimeout: 20 * time.Millisecond})
	_, err := s.Read(t.Context())
	wantError(t, err, context.DeadlineExceeded, "get configmap penstock/weight")
	wantError(t, s.Desire(t.Context(), 60), context.DeadlineExceeded)
}

//nolint:paralleltest // it looks for goroutines
func TestConfigMapWatch(t *testing.T) {
	kube := newKube()
	before := goleak.IgnoreCurrent()
	s := configMapStore(t, kube, store.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	changes, ended := make(chan struct{}, 100), make(chan error, 1)
	var running atomic.Bool
	running.Store(true)
	go func() {
		err := s.Watch(ctx, func() {
			if !running.Load() {
				t.Error("changed was called after Watch had returned")
			}
			changes <- struct{}{}
		})
		running.Store(false)
		ended <- err
	}()
	wait := func(reason string) {
		t.Helper()
		select {
		case <-changes:
		case <-time.After(30 * time.Second):
			t.Fatalf("nothing was told: %s", reason)
		}
	}
	if err := s.Create(t.Context(), store.Row{DesiredWeight: 50}); err != nil {
		t.Fatal(err)
	}
	wait("created")
	if err := s.Desire(t.Context(), 60); err != nil {
		t.Fatal(err)
	}
	wait("changed")
	if err := kube.CoreV1().ConfigMaps(configMapName.Namespace).Delete(t.Context(), configMapName.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	wait("deleted")
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Watch: %v", err)
	}
	goleak.VerifyNone(t, before)
	watches := 0
	for _, action := range kube.Actions() {
		var selector string
		switch action := action.(type) {
		case clienttesting.ListAction:
			selector = action.GetListRestrictions().Fields.String()
		case clienttesting.WatchAction:
			selector = action.GetWatchRestrictions().Fields.String()
			watches++
		default:
			continue
		}
		if want := "metadata.name=weight"; selector != want || action.GetNamespace() != configMapName.Namespace {
			t.Errorf("%s with the field selector %q in namespace %q, want only %q", action.GetVerb(), selector, action.GetNamespace(), want)
		}
	}
	if watches == 0 {
		t.Error("nothing was watched")
	}
}

// hangingKube answers no call before its context ends.
type hangingKube struct{ kubernetes.Interface }

func (h *hangingKube) CoreV1() corev1client.CoreV1Interface {
	return hangingCore{h.Interface.CoreV1()}
}

type hangingCore struct{ corev1client.CoreV1Interface }

func (h hangingCore) ConfigMaps(namespace string) corev1client.ConfigMapInterface {
	return hangingConfigMaps{h.CoreV1Interface.ConfigMaps(namespace)}
}

type hangingConfigMaps struct {
	corev1client.ConfigMapInterface
}

func (h hangingConfigMaps) Get(ctx context.Context, _ string, _ metav1.GetOptions) (*corev1.ConfigMap, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// oneKube has one ConfigMap and is fast enough for fuzzing.
type oneKube struct {
	kubernetes.Interface
	corev1client.CoreV1Interface
	corev1client.ConfigMapInterface
	configMap *corev1.ConfigMap
}

func (k *oneKube) CoreV1() corev1client.CoreV1Interface { return oneCore{k} }

type oneCore struct{ *oneKube }

func (k oneCore) ConfigMaps(string) corev1client.ConfigMapInterface { return oneConfigMaps(k) }

type oneConfigMaps struct{ *oneKube }

func (k oneConfigMaps) Get(context.Context, string, metav1.GetOptions) (*corev1.ConfigMap, error) {
	return k.configMap.DeepCopy(), nil
}

func (k oneConfigMaps) Update(_ context.Context, configMap *corev1.ConfigMap, _ metav1.UpdateOptions) (*corev1.ConfigMap, error) {
	k.configMap = configMap.DeepCopy()
	return configMap, nil
}

// Whatever people write into the ConfigMap is refused, or is a row that can be acknowledged and read back.
func FuzzConfigMap(f *testing.F) {
	since := "2026-01-02T03:04:05.6Z"
	f.Add("50", "50", "a1b2", "Moving", "0", "50", "10", "0", since, "waiting", byte(0))
	f.Add(" 50\n", "0", "", "RolledBack", "0", "50", "10", "3", "2026-01-02T03:04:05+01:00", "", byte(0))
	f.Add("12.5", "-1", "", "", "", "", "", "", "", "", byte(0xff))
	f.Add("1e400", "NaN", "", "Dreaming", "0x10", "1_0", "99999999999999999999", "+1", "0000-00-00", "\xff", byte(0))
	f.Add("050", "-0", " ", "Arrived", "0", "0", "0", "0", "9999-12-31T23:59:59.999999999-23:59", "\x00", byte(1))
	f.Fuzz(func(t *testing.T, desired, current, check, phase, from, to, weight, failures, since, message string, without byte) {
		data := map[string]string{"Comment": "theirs"}
		for i, pair := range [][2]string{
			{"RampPhase", phase},
			{"RampFrom", from},
			{"RampTo", to},
			{"RampWeight", weight},
			{"RampFailures", failures},
			{"RampSince", since},
			{"RampMessage", message},
			{"CurrentWeight", current},
		} {
			if without&(1<<i) == 0 {
				data[pair[0]] = pair[1]
			}
		}
		data["DesiredWeight"], data["HealthCheckID"] = desired, check
		kube := &oneKube{configMap: &corev1.ConfigMap{Data: data}}
		s := configMapStore(t, kube, store.Options{})
		row, err := s.Read(t.Context())
		if err != nil {
			if !errors.Is(err, store.ErrInvalid) || row != (store.Row{}) {
				t.Fatalf("%q: row %+v, error %v", data, row, err)
			}
			return
		}
		if n, err := strconv.Atoi(strings.TrimSpace(desired)); err != nil || n != row.DesiredWeight || n < 0 || row.CurrentWeight < 0 || row.Ramp.Weight < 0 {
			t.Fatalf("%q: row %+v", data, row)
		}
		next := row
		next.CurrentWeight = 7
		if err := s.Acknowledge(t.Context(), row, next); err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		next.Ramp.Message = strings.ToValidUTF8(next.Ramp.Message, "\uFFFD")
		if diff := cmp.Diff(next, read(t, s)); diff != "" {
			t.Errorf("%q: -want +got:\n%s", data, diff)
		}
		if kube.configMap.Data["Comment"] != "theirs" || kube.configMap.Data["DesiredWeight"] != desired {
			t.Errorf("%q became %q", data, kube.configMap.Data)
		}
	})
}
