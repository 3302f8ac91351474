package accounts

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Cost of a password's hash: OWASP's Password Storage Cheat Sheet's first
// choice for argon2id. Slow for whoever tries many, quick for one person.
const (
	argonMemory  = 19 * 1024 // KiB
	argonTime    = 2
	argonThreads = 1
	saltLength   = 16
	keyLength    = 32
)

// nobody is the hash of a password that nobody has: checking against it takes
// as long as checking a real one, so that an answer's time does not tell
// whether a handle exists.
var nobody = phc(argonMemory, argonTime, argonThreads, make([]byte, saltLength), make([]byte, keyLength))

// hash returns a password's hash as a PHC string. It waits for its turn until
// ctx ends.
func (m *Module) hash(ctx context.Context, password string) (string, error) {
	salt := make([]byte, saltLength)
	rand.Read(salt)
	key, err := m.derive(ctx, password, salt, argonMemory, argonTime, argonThreads)
	if err != nil {
		return "", err
	}
	return phc(argonMemory, argonTime, argonThreads, salt, key), nil
}

// matches says whether a password is the one that was hashed.
func (m *Module) matches(ctx context.Context, password, hashed string) (bool, error) {
	var memory, time uint32
	var threads uint8
	parts := strings.Split(hashed, "$")
	if len(parts) != 6 || parts[1] != "argon2id" || parts[2] != "v=19" {
		return false, fmt.Errorf("password hash of an unknown kind")
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &time, &threads); err != nil {
		return false, fmt.Errorf("password hash: %w", err)
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil {
		return false, fmt.Errorf("password hash: %w", err)
	}
	want, err := base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil {
		return false, fmt.Errorf("password hash: %w", err)
	}
	key, err := m.derive(ctx, password, salt, memory, time, threads)
	return err == nil && subtle.ConstantTimeCompare(key, want) == 1, err
}

func (m *Module) derive(ctx context.Context, password string, salt []byte, memory, time uint32, threads uint8) ([]byte, error) {
	select {
	case m.hashing <- struct{}{}:
		defer func() { <-m.hashing }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return argon2.IDKey([]byte(password), salt, time, memory, threads, keyLength), nil
}

func phc(memory, time uint32, threads uint8, salt, key []byte) string {
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", memory, time, threads,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key))
}
