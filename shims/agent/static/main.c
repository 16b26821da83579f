/* The agent as one program that needs nothing of its guest: CPython, and all modules as constants (modules.h). */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <limits.h>
#include <unistd.h>

#include "modules.h"

static int fail(PyStatus status)
{
    if (PyStatus_IsExit(status))
        return status.exitcode;
    fprintf(stderr, "minibus-agent: Python does not start: %s\n", status.err_msg ? status.err_msg : "unknown");
    return 1;
}

int main(int argc, char **argv)
{
    PyPreConfig early;
    PyConfig config;
    PyStatus status;
    char directory[PATH_MAX];

    /* Python wants to know where it is; a directory that was removed, or lies outside a chroot, has no name. */
    if ((!getcwd(directory, sizeof directory) || directory[0] != '/') && chdir("/") != 0)
        return 1;

    PyPreConfig_InitIsolatedConfig(&early);
    early.utf8_mode = 1; /* a guest need not have locales */
    status = Py_PreInitialize(&early);
    if (PyStatus_Exception(status))
        return fail(status);

    PyImport_FrozenModules = modules;
    PyConfig_InitIsolatedConfig(&config);
    config.site_import = 0;
    config.write_bytecode = 0;
    config.optimization_level = 2;
    config.install_signal_handlers = 0;
    config.parse_argv = 0;
    config.pathconfig_warnings = 0;
    config.module_search_paths_set = 1; /* none: everything is in here */

    status = PyConfig_SetBytesString(&config, &config.program_name, "minibus-agent");
    if (!PyStatus_Exception(status))
        status = PyConfig_SetBytesString(&config, &config.home, "/");
    if (!PyStatus_Exception(status))
        status = PyConfig_SetBytesString(&config, &config.run_module, "shims.agent");
    if (!PyStatus_Exception(status))
        status = PyConfig_SetBytesArgv(&config, argc, argv);
    if (!PyStatus_Exception(status))
        status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    if (PyStatus_Exception(status))
        return fail(status);

    PyObject *module = PyImport_ImportModule("shims.agent.__main__");
    PyObject *result = module ? PyObject_CallMethod(module, "run", NULL) : NULL;
    long code = 1;
    if (result)
        code = PyLong_AsLong(result);
    else
        PyErr_Print();
    fflush(NULL);
    _exit((int)code); /* nothing is left to be tidied up */
}
