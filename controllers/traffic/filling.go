package traffic

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// fillTimeout is how long the caches of a leader may take to be filled. Then it gives up and is started again, since it holds the lease and does nothing.
const fillTimeout = 2 * time.Minute

// filling knows why the caches are not filled. client-go tries again for ever, and says so in its own log only. It may be used by several goroutines.
type filling struct {
	mu   sync.Mutex       // guards the following
	errs map[string]error // the last one, by kind
	tell func(why string) // nil while nobody waits for the caches
}

// begin says that somebody waits for the caches, and is to be told why they are not filled whenever that changes.
func (f *filling) begin(tell func(why string)) {
	f.mu.Lock()
	f.tell, f.errs = tell, nil // of before, when nobody waited
	f.mu.Unlock()
	f.told()
}

// end says that nobody waits any more.
func (f *filling) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tell = nil
}

// waits tells whether somebody waits for the caches.
func (f *filling) waits() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tell != nil
}

// note keeps what became of a kind; nil is that it is in the caches.
func (f *filling) note(kind string, err error) {
	f.mu.Lock()
	if err == nil {
		delete(f.errs, kind)
	} else {
		if f.errs == nil {
			f.errs = map[string]error{}
		}
		f.errs[kind] = err
	}
	f.mu.Unlock()
	f.told()
}

func (f *filling) told() {
	f.mu.Lock()
	tell := f.tell
	f.mu.Unlock()
	if tell != nil {
		tell(text(f.why()))
	}
}

// notFilled returns why a leader has to give up.
func (f *filling) notFilled() error {
	why := f.why()
	if why == nil {
		why = errors.New("the API server has not sent all of it")
	}
	return fmt.Errorf("the caches are not filled after %s: %w", fillTimeout, why)
}

// why returns what is wrong with each kind, which the errors name, and what helps; nil while nothing is known to be.
func (f *filling) why() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	errs := make([]error, 0, len(f.errs))
	for _, kind := range slices.Sorted(maps.Keys(f.errs)) {
		err := f.errs[kind]
		switch {
		case meta.IsNoMatchError(err):
			err = fmt.Errorf("%w: install the CustomResourceDefinition of external-dns, or publish with the flag dns-backend=route53", err)
		case apierrors.IsForbidden(err):
			err = fmt.Errorf("%w: allow it with a ClusterRole, such as that of the chart", err)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// watchFailed is the handler of what goes wrong between an informer and the API server.
func (f *filling) watchFailed(ctx context.Context, r *toolscache.Reflector, err error) {
	toolscache.DefaultWatchErrorHandler(ctx, r, err)
	f.note(r.TypeDescription(), err)
}

// asked is a cache that notes which kinds it has no informer for.
type asked struct {
	cache.Cache

	filling *filling
}

// GetInformer implements cache.Informers.
func (a asked) GetInformer(ctx context.Context, object client.Object, options ...cache.InformerGetOption) (cache.Informer, error) {
	informer, err := a.Cache.GetInformer(ctx, object, options...)
	if err == nil || ctx.Err() == nil { // at the end of ctx, what is known already says more
		a.filling.note(kindOf(object), err)
	}
	return informer, err //nolint:wrapcheck // this is the cache
}

// kindOf names a kind as reflectors do.
func kindOf(object client.Object) string {
	if gvk := object.GetObjectKind().GroupVersionKind(); !gvk.Empty() {
		return gvk.String()
	}
	return fmt.Sprintf("%T", object)
}
