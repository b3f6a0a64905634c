package flaggersim

import (
	"context"
	"errors"
	"net/url"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"
)

// ErrKilled is what every call of a process returns once it was killed.
var ErrKilled = errors.New("the process was killed")

// Fault is what happens at a write.
type Fault int

// The faults. A write that is killed "after" has taken effect, and the process never learns of it. TimeoutAfter is what the API server says, OutOfTime what the
// client says by itself when the server says nothing, before the write has an effect or after it.
const (
	NoFault Fault = iota
	KillBefore
	KillAfter
	Conflict
	Throttle
	ServerError
	TimeoutAfter
	OutOfTime
	OutOfTimeAfter
)

func (f Fault) String() string {
	return [...]string{
		"no fault", "killed before", "killed after", "conflict", "throttled", "server error", "timeout after it took effect", "out of time",
		"out of time after it took effect",
	}[f]
}

// Process is the life of one process: it counts the writes of its clients, lets one of them go wrong, and may die.
type Process struct {
	life context.Context //nolint:containedctx // it is what the process runs in
	kill context.CancelFunc

	mu     sync.Mutex // guards the following
	writes int
	reads  int
	at     int // the write that goes wrong, counted from 1; 0 is none
	fault  Fault
	down   bool // every call fails with a server error
	dead   bool
}

// NewProcess returns a process whose at-th write meets a fault.
func NewProcess(at int, fault Fault) *Process {
	life, kill := context.WithCancel(context.Background())
	return &Process{life: life, kill: kill, at: at, fault: fault}
}

// Context ends when the process is killed: what it waits for ends with it.
func (p *Process) Context() context.Context { return p.life }

// Dead tells whether the process was killed.
func (p *Process) Dead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

// Writes and Reads count the calls so far.
func (p *Process) Writes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.writes
}

// Reads counts the reading calls so far.
func (p *Process) Reads() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reads
}

// SetDown takes the API away from the process, or gives it back.
func (p *Process) SetDown(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

// Write runs a write of the process, such as one of DNS, with the fault that is due.
func (p *Process) Write(write func() error) error {
	fault, err := p.next()
	if err != nil {
		return err
	}
	if fault != NoFault && fault != KillAfter && fault != TimeoutAfter && fault != OutOfTimeAfter {
		return failure(fault)
	}
	if err := write(); err != nil {
		return err
	}
	return failure(fault)
}

// next counts a write and returns the fault that it meets.
func (p *Process) next() (Fault, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return NoFault, ErrKilled
	}
	p.writes++
	if p.at != p.writes {
		return NoFault, nil
	}
	if p.fault == KillBefore || p.fault == KillAfter {
		p.dead = true
		p.kill()
	}
	return p.fault, nil
}

// failure is the error that the client gets, as the API would send it.
func failure(fault Fault) error {
	return map[Fault]error{
		KillBefore:   ErrKilled,
		KillAfter:    ErrKilled,
		Conflict:     apierrors.NewConflict(schema.GroupResource{Resource: "objects"}, "object", errors.New("it was changed meanwhile")),
		Throttle:     apierrors.NewTooManyRequests("slow down", 1),
		ServerError:  apierrors.NewInternalError(errors.New("etcd has no leader")),
		TimeoutAfter: apierrors.NewTimeoutError("no answer in time", 1),
		// https://pkg.go.dev/net/http#Client.Do
		OutOfTime:      &url.Error{Op: "Put", URL: "https://192.0.2.1/object", Err: context.DeadlineExceeded},
		OutOfTimeAfter: &url.Error{Op: "Put", URL: "https://192.0.2.1/object", Err: context.DeadlineExceeded},
	}[fault]
}

// Client returns a clientset of the process over the objects that another one stores.
func (p *Process) Client(stored *fake.Clientset) *fake.Clientset {
	front := &fake.Clientset{}
	front.AddReactor("*", "*", func(action ktesting.Action) (bool, runtime.Object, error) {
		var object runtime.Object
		run := func() error {
			var err error
			object, err = stored.Invokes(action, nil)
			return err //nolint:wrapcheck // callers look at the API's own error
		}
		if verb := action.GetVerb(); verb == "get" || verb == "list" || verb == "watch" {
			p.mu.Lock()
			p.reads++
			dead, down := p.dead, p.down
			p.mu.Unlock()
			if dead {
				return true, nil, ErrKilled
			}
			if down {
				return true, nil, failure(ServerError)
			}
			err := run()
			return true, object, err
		}
		if action.GetResource().Resource == "events" { // Events are best effort: losing one is no fault
			err := run()
			return true, object, err
		}
		p.mu.Lock()
		down := p.down
		p.mu.Unlock()
		if down {
			return true, nil, failure(ServerError)
		}
		err := p.Write(run)
		return true, object, err
	})
	return front
}
