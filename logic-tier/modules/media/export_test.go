package media

import (
	"context"
	"time"
)

// SweepNow runs one sweep.
func (m *Module) SweepNow(ctx context.Context) error { return m.sweepOnce(ctx) }

// SetSegmentSeconds sets the approximate length of a segment.
func (m *Module) SetSegmentSeconds(seconds float64) { m.segmentSeconds = seconds }

// ParseFileRef parses the resource name of a file and formats the result.
func ParseFileRef(name string) (string, error) {
	ref, err := parseFileRef(name)
	return ref.String(), err
}

// AppendSession returns the session of the AppendUpload call that is admitted to an upload,
// or nil.
func (m *Module) AppendSession(upload string) any {
	m.appendSessions.mu.Lock()
	defer m.appendSessions.mu.Unlock()
	if s := m.appendSessions.current[upload]; s != nil {
		return s
	}
	return nil
}

// ChunkSize is the size of a chunk in bytes.
const ChunkSize = chunkSize

// RemoveStale removes the work directories of killed processes.
func (m *Module) RemoveStale() error { return m.scratch.removeStale() }

// Run runs a program under the limits that apply to ffmpeg.
func Run(ctx context.Context, dir string, onLine func(string), program string, arguments ...string) error {
	_, err := command{program: program, arguments: arguments, dir: dir, timeout: time.Hour, maxFileSize: 1 << 20}.run(ctx, onLine)
	return err
}
