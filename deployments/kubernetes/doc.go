// Package kubernetes tests the manifests in this folder. The tests build every
// kustomization in process and validate the objects with upstream code: the API server's
// validation, Pod Security admission, and the operators' schemas.
package kubernetes
