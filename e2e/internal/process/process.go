// Package process starts the programs that the tests are about, and ends them whatever happens.
package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Process is a running program. It is killed when the process that started it ends, however that ends.
type Process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	lines <-chan string
	ended chan struct{}
	err   error // set before ended is closed
}

// Options say how a program is run.
type Options struct {
	// Env is added to the environment of this process.
	Env []string
	// Log gets what the program writes to standard error and, unless Lines is set, to standard output.
	Log io.Writer
	// Lines has the lines of standard output handed out by ReadLine.
	Lines bool
}

// Start starts a program.
func Start(o Options, path string, args ...string) (*Process, error) {
	p := &Process{cmd: exec.Command(path, args...), ended: make(chan struct{})} //nolint:gosec,noctx // tests choose the program; Stop ends it
	p.cmd.Env = append(os.Environ(), o.Env...)
	p.cmd.Stderr = o.Log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	p.stdin = stdin
	var stdout io.Reader
	if o.Lines {
		if stdout, err = p.cmd.StdoutPipe(); err != nil {
			return nil, fmt.Errorf("start %s: %w", path, err)
		}
	} else {
		p.cmd.Stdout = o.Log
	}
	if err := onStarter(p.cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	read := make(chan struct{})
	close(read)
	if o.Lines {
		lines := make(chan string, 1)
		p.lines, read = lines, make(chan struct{})
		go func() {
			defer close(read)
			defer close(lines)
			for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
				lines <- scanner.Text()
			}
		}()
	}
	go func() {
		<-read // Wait closes the pipe
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// starter is the thread on which all programs are started: the kernel kills them when their parent thread ends, not only the process.
// https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html
var starter = sync.OnceValue(func() chan<- func() {
	jobs := make(chan func())
	go func() {
		runtime.LockOSThread()
		for job := range jobs {
			job()
		}
	}()
	return jobs
})

func onStarter(start func() error) error {
	result := make(chan error)
	starter() <- func() { result <- start() }
	return <-result
}

// ReadLine returns the next line of standard output.
func (p *Process) ReadLine(ctx context.Context) (string, error) {
	select {
	case line, ok := <-p.lines:
		if !ok {
			<-p.ended
			return "", fmt.Errorf("%s ended: %w", p.cmd.Path, errors.Join(p.err, io.EOF))
		}
		return line, nil
	case <-ctx.Done():
		return "", fmt.Errorf("wait for %s: %w", p.cmd.Path, ctx.Err())
	}
}

// Kill ends the program as a lack of memory does, and returns when it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.ended
}

// Stop asks the program to end, and kills it if it has not done so after some time.
func (p *Process) Stop(patience time.Duration) {
	_ = p.stdin.Close()
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
		p.Kill()
	}
}

// Pause stops the program where it is, as a machine that is moved does, until Resume.
func (p *Process) Pause() error { return p.signal(syscall.SIGSTOP) }

// Resume lets a program go on that was stopped by Pause.
func (p *Process) Resume() error { return p.signal(syscall.SIGCONT) }

func (p *Process) signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("send %s to %s: %w", s, p.cmd.Path, err)
	}
	return nil
}

// PID is the number of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ended is closed when the program has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Usage is what an ended program has used.
type Usage struct {
	CPU       time.Duration
	MaxMemory int64 // bytes
}

// Usage returns what the program has used, once it has ended.
func (p *Process) Usage() Usage {
	<-p.ended
	u := Usage{CPU: p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()}
	if r, ok := p.cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		u.MaxMemory = r.Maxrss * 1024
	}
	return u
}
