"""What the simulated academy teaches: four courses of modules with five lessons each, and what they cost in USD."""

from dataclasses import dataclass
from decimal import Decimal

import numpy as np

LESSONS_A_MODULE = 5


@dataclass(frozen=True)
class CourseOffer:
    """One course: its lessons are numbered 0 to `lessons` - 1 and have ids of their own within it."""

    id: str
    title: str
    price: Decimal
    lessons: int
    topics: tuple[str, ...]

    def lesson_id(self, number: int) -> str:
        """Return the id of a lesson by its place in the course."""
        return f"{self.id}-l{number + 1:02d}"

    def module_id(self, number: int) -> str:
        """Return the id of the module that a lesson is in."""
        return f"{self.id}-m{number // LESSONS_A_MODULE + 1}"

    def lesson_title(self, number: int) -> str:
        """Return a lesson's title: its module's topic and its place there."""
        return f"{self.topics[number // LESSONS_A_MODULE]} {number % LESSONS_A_MODULE + 1}"


COURSES = (
    CourseOffer("python-basics", "Python Basics", Decimal("149.00"), 20, ("Values", "Loops", "Functions", "Files")),
    CourseOffer(
        "data-analysis",
        "Data Analysis",
        Decimal("299.00"),
        30,
        ("Tables", "Cleaning", "Charts", "Statistics", "SQL", "Reports"),
    ),
    CourseOffer(
        "web-apps",
        "Web Apps",
        Decimal("399.00"),
        40,
        ("HTTP", "Pages", "Forms", "Databases", "Logins", "Tests", "Deployment", "Speed"),
    ),
    CourseOffer(
        "machine-learning",
        "Machine Learning",
        Decimal("599.00"),
        50,
        (
            "Vectors",
            "Probability",
            "Regression",
            "Trees",
            "Validation",
            "Clusters",
            "Networks",
            "Text",
            "Images",
            "Capstone",
        ),
    ),
)
CURRENCY = "USD"
# What an upgrade to mentoring costs, whatever the course.
UPGRADE_PRICE = Decimal("199.00")

LESSONS = np.array([course.lessons for course in COURSES])
PRICE_CENTS = np.array([int(course.price * 100) for course in COURSES])
UPGRADE_CENTS = int(UPGRADE_PRICE * 100)


def after(course: np.ndarray) -> np.ndarray:
    """Return the course that people take after `course`; both are places in `COURSES`."""
    return (course + 1) % len(COURSES)
