// Package assets holds what pages load: named by their content, so that a
// browser keeps them for good, and compressed once.
package assets

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"mime"
	"net/http"
	"path"
	"regexp"
	"strconv"
	"strings"
)

//go:embed *.css *.js *.svg
var files embed.FS

type asset struct {
	path, kind      string
	plain, squeezed []byte
}

var byName, byPath = load()

// imported finds what a script imports from beside it.
var imported = regexp.MustCompile(`from "\./([a-z]+\.js)"`)

func load() (byName, byPath map[string]*asset) {
	byName, byPath = map[string]*asset{}, map[string]*asset{}
	entries, err := files.ReadDir(".")
	if err != nil {
		panic(err) // embedded
	}
	var add func(name string) *asset
	add = func(name string) *asset {
		if a := byName[name]; a != nil {
			return a
		}
		content, err := files.ReadFile(name)
		if err != nil {
			panic(err)
		}
		// A script imports another by the address that the content of that has.
		content = imported.ReplaceAllFunc(content, func(found []byte) []byte {
			return []byte(`from "` + add(string(imported.FindSubmatch(found)[1])).path + `"`)
		})
		sum := sha256.Sum256(content)
		extension := path.Ext(name)
		a := &asset{
			path: "/assets/" + strings.TrimSuffix(name, extension) + "." + hex.EncodeToString(sum[:5]) + extension,
			kind: mime.TypeByExtension(extension), plain: content,
		}
		if extension == ".js" {
			a.kind = "text/javascript; charset=utf-8"
		}
		var squeezed bytes.Buffer
		z, _ := gzip.NewWriterLevel(&squeezed, gzip.BestCompression)
		_, _ = z.Write(content)
		_ = z.Close()
		a.squeezed = squeezed.Bytes()
		byName[name], byPath[a.path] = a, a
		return a
	}
	for _, entry := range entries {
		add(entry.Name())
	}
	return byName, byPath
}

// Path returns the address of an asset. It panics for one that is not there:
// names are written in the program.
func Path(name string) string { return byName[name].path }

// Serve answers with an asset. It reports whether there is one.
func Serve(w http.ResponseWriter, r *http.Request) bool {
	a := byPath[r.URL.Path]
	if a == nil {
		return false
	}
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Vary", "Accept-Encoding")
	content := a.plain
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		content = a.squeezed
	}
	h.Set("Content-Length", strconv.Itoa(len(content)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(content)
	}
	return true
}
