package e2e_test

import (
	"errors"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
)

// follow hands saw what there is of a resource, and what happens to it until the test ends; a name chooses one object. The API ends a watch
// after half an hour or so: then it goes on where it was, and the test fails if it cannot.
func (s *site) follow(client cache.Getter, resource, name string, saw func(watch.Event)) {
	t, ctx := s.app.t, s.app.t.Context()
	t.Helper()
	which := fields.Everything()
	if name != "" {
		which = fields.OneTermEqualSelector(metav1.ObjectNameField, name)
	}
	objects := cache.NewListWatchFromClient(client, resource, s.app.namespace, which)
	list, err := objects.ListWithContext(ctx, metav1.ListOptions{})
	must(t, err)
	must(t, meta.EachListItem(list, func(object runtime.Object) error {
		saw(watch.Event{Type: watch.Added, Object: object})
		return nil
	}))
	at, err := meta.ListAccessor(list)
	must(t, err)
	w, err := watchtools.NewRetryWatcherWithContext(ctx, at.GetResourceVersion(), objects)
	must(t, err)
	var running sync.WaitGroup
	running.Go(func() {
		var last watch.Event
		for last = range w.ResultChan() {
			saw(last)
		}
		if ctx.Err() != nil {
			return // the test is over
		}
		why := errors.New("nobody said why")
		if last.Type == watch.Error {
			why = apierrors.FromObject(last.Object)
		}
		t.Errorf("cluster %s: the watch of %s ended before the test: %v", s.Name, resource, why)
	})
	t.Cleanup(running.Wait)
}
